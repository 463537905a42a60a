//! What the engine hears of what the database tells.

use crate::replica::Told;
use crate::sync::Event;

/// Returns what the engine hears; nothing where it concerns the app alone.
pub(crate) fn heard(told: Told) -> Option<Event> {
    Some(match told {
        Told::Stored { space, from, stored } => Event::Stored { space, from, stored },
        Told::Clash { space, commits, to } => Event::Clash { space, commits, to },
        Told::SpaceChanged(state) | Told::InterestChanged(state) => Event::SpaceChanged(state),
        Told::SpaceGone { space } => Event::SpaceGone { space },
        Told::Damaged { space, .. } | Told::Expired { space, .. } => Event::Damaged { space },
        Told::Changed { .. }
        | Told::JoinRequested { .. }
        | Told::Conflict { .. }
        | Told::TakenBack { .. }
        | Told::Indexed { .. }
        | Told::Repaired { .. } => return None,
    })
}
