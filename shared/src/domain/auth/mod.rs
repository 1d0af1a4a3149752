//! Who somebody is: signing in, sessions, access and refresh tokens, API keys.

pub mod api_keys;
pub mod attempt;
pub mod devices;
mod enter;
mod github;
pub mod grant;
pub mod id_token;
pub mod key_ring;
pub mod link;
pub mod magic_link;
mod openid;
mod proven;
pub mod refresh;
pub mod return_to;
pub mod second_factor;
pub mod sessions;
pub mod sign_in;
pub mod signing;
pub mod step_up;
pub mod tokens;
