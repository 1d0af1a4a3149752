//! peers and TestApp

pub mod peers;
