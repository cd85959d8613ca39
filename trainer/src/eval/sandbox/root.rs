//! A root folder that holds the interpreter's folders and nothing else, all of it read-only.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

/// Where the new root is put together: a folder that every system has.
const STAGE: &str = "/tmp";
/// Where the old root hangs in the new one meanwhile.
const OLD: &str = "/old";

/// Exchanges the root folder of this process, which must be in a mount namespace of its own.
pub(super) fn enter(readable: &[PathBuf]) -> Result<()> {
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).context("cannot make the mounts private")?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), plain, Some("size=1m,mode=0755"))
        .context("cannot mount an empty folder")?;
    let hung = Path::new(STAGE).join(OLD.trim_start_matches('/'));
    std::fs::create_dir(&hung).context("cannot make a folder in the new root")?;
    pivot_root(STAGE, &hung).context("cannot exchange the root folder")?;
    chdir("/").context("cannot enter the new root")?;
    for folder in readable {
        show(folder).with_context(|| format!("cannot show {}", folder.display()))?;
    }
    umount2(OLD, MntFlags::MNT_DETACH).context("cannot let go of the old root")?;
    std::fs::remove_dir(OLD).context("cannot remove the old root's folder")?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | plain;
    mount(NONE, "/", NONE, read_only, NONE).context("cannot make the root read-only")
}

/// Shows a folder of the old root at its place in the new one, read-only.
fn show(folder: &Path) -> Result<()> {
    const NONE: Option<&Path> = None;
    let source = Path::new(OLD).join(folder.strip_prefix("/")?);
    std::fs::create_dir_all(folder)?;
    mount(Some(&source), folder, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    // In a user namespace, what a mount forbids already must be forbidden on.
    let before = statvfs(folder)?.flags();
    let kept = [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.iter().filter(|(flag, _)| before.contains(*flag));
    let flags = kept.fold(
        MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV,
        |flags, (_, kept)| flags | *kept,
    );
    Ok(mount(NONE, folder, NONE, flags, NONE)?)
}
