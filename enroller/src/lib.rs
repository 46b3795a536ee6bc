//! stagedoor
