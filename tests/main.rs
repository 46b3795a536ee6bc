//! What operators are promised, one module for each area. Names of tests are promises.
//!
//! | module | promises about |
//! |---|---|
//! | `stand_ins` | the stand-ins themselves: that they refuse what real Puppet refuses |

mod stand_ins;
