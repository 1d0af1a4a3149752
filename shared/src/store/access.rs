//! The access patterns of the table: what is asked of it, and at what cost. A test compares this list with
//! ARCHITECTURE.md.
