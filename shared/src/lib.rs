//! Camarad.
