//! Groups and classes of a new master, and out of them again.
//!
//! In an open-source installation the site's code says what a node is; where that needs a word from outside, a program
//! here is run.

use super::{Act, Enrolling, Look};
use crate::pipeline::{Facts, Looked, ToLook};
use crate::runs::program;

pub(super) async fn look(at: &Enrolling<'_>, task: &ToLook) -> Look {
    let by_command = at.site.settings.classify.is_some();
    Ok(match &task.known().acted {
        // Nobody but the program itself can tell; it may be run twice.
        Some(acted) => Looked::There(acted.clone()),
        None if by_command => Looked::Missing(Facts::none()),
        None => Looked::There(Facts::none().and("by", "site code")),
    })
}

pub(super) async fn act(at: &Enrolling<'_>) -> Act {
    if let Some(command) = &at.site.settings.classify {
        program(command, at.master()).await?;
    }
    Ok(Facts::none().and("by", "command"))
}

pub(super) async fn unpinned(_at: &Enrolling<'_>) -> Look {
    Ok(Looked::There(Facts::none().and("by", "site code")))
}

pub(super) async fn unpin(_at: &Enrolling<'_>) -> Act {
    Ok(Facts::none())
}
