//! Who somebody is: sessions and access tokens.

pub mod refresh;
pub mod sessions;
pub mod tokens;
