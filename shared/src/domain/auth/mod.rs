//! Who somebody is: sessions and access tokens.

pub mod sessions;
pub mod tokens;
