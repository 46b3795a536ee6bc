//! What operators are promised, one module for each area. Names of tests are promises.
//!
//! | module | promises about |
//! |---|---|
//! | `check` | `stagedoor check`: what a start would stumble over, told before it |
//! | `stand_ins` | the stand-ins themselves: that they refuse what real Puppet refuses |

mod check;
mod stand_ins;
