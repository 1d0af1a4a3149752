//! peers and TestApp
