//! The second layer: native functions behind the deployed template, IAM enforced.

mod functions;
