//! How much a disk has left.

use std::path::Path;

/// Bytes that may be written below `folder`, which need not be there yet; `None` where the
/// system does not say.
#[cfg(unix)]
pub(super) fn free_space(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find(|ancestor| ancestor.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Nothing says it here; a full disk is an error of its own.
#[cfg(not(unix))]
pub(super) fn free_space(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_made_has_the_room_of_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let room = free_space(&folder.path().join("not/yet/there")).unwrap();
        assert!(room > 0);
    }
}
