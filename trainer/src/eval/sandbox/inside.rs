//! The inside of the sandbox: a fresh process of one thread gives up everything, then starts the interpreter.
#![expect(unsafe_code, reason = "fork has no safe form")]

use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, fork, getgid, getuid, setgroups, setresgid, setresuid, setsid,
};

use super::root;
use super::{BOOTSTRAP, Isolation, OUT_OF_TIME, READY, SandboxedArgs};

/// Kills a session that [`run`] began, by the id of its first process.
pub(super) fn kill_session(id: u32) {
    // The error says that it has ended already, or has not begun its session: then it is alone.
    let _ = killpg(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
}

/// See [`super::run_sandboxed`].
pub(super) fn run(args: &SandboxedArgs) -> Result<ExitCode> {
    setsid().context("cannot begin a session")?;
    umask(Mode::from_bits_truncate(0o022));
    match args.isolation {
        Isolation::Limits => {
            // Without a root folder of its own, a program must not be able to change what is root's.
            if getuid().is_root() {
                become_nobody()?;
            }
            give_up_resources(args, processes_of(getuid()))?;
            begin()?;
            Err(python(args).exec()).context("cannot start the interpreter")
        }
        Isolation::Namespaces => {
            let identity = enter_namespaces()?;
            let others = match identity {
                Identity::Mapped if !counts_by_namespace() => processes_of(getuid()),
                Identity::Spare | Identity::Mapped => 0,
            };
            root::enter(&args.readable)?;
            if let Identity::Spare = identity {
                become_nobody()?;
            }
            give_up_resources(args, others)?;
            // SAFETY: this process has one thread, so the child may do whatever this process may.
            match unsafe { fork() }.context("cannot make a process")? {
                ForkResult::Child => init(args),
                ForkResult::Parent { child } => Ok(match waitpid(child, None)? {
                    WaitStatus::Exited(_, code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                    _ => ExitCode::FAILURE,
                }),
            }
        }
    }
}

/// Who the program runs as.
#[derive(Clone, Copy)]
enum Identity {
    /// A user of its own; this process is root and has yet to become it.
    Spare,
    /// The user who called, seen through a user namespace.
    Mapped,
}

/// Id of a user who owns nothing, where [`SPARE_IDS`] cannot be used.
const NOBODY: u32 = 65534;
/// First of the ids that no system gives to anyone; with a process id added, each program has one to itself.
const SPARE_IDS: u32 = 0x7000_0000;

/// New namespaces for mounts, network and messages, and for the processes that are started from here.
fn enter_namespaces() -> Result<Identity> {
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (uid, gid) = (getuid(), getgid());
    if uid.is_root() && unshare(own).is_ok() {
        return Ok(Identity::Spare);
    }
    unshare(CloneFlags::CLONE_NEWUSER | own).context("the kernel gives no namespaces")?;
    // A user with the number 0 would keep its capabilities in the program.
    let inside = |id: u32| if id == 0 { NOBODY } else { id };
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{} {uid} 1", inside(uid.as_raw()))),
        ("gid_map", format!("{} {gid} 1", inside(gid.as_raw()))),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .with_context(|| format!("cannot write /proc/self/{file}"))?;
    }
    Ok(Identity::Mapped)
}

/// From root to a user who owns nothing, for good.
fn become_nobody() -> Result<()> {
    setgroups(&[]).context("cannot leave the groups")?;
    let spare = SPARE_IDS + std::process::id();
    for id in [spare, NOBODY] {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        // A container may know few ids.
        if setresgid(gid, gid, gid).is_ok() && setresuid(uid, uid, uid).is_ok() {
            return Ok(());
        }
    }
    bail!("cannot become another user than root")
}

/// Limits, no way to new privileges, and an end when whoever called ends. `others` are the processes of the user.
fn give_up_resources(args: &SandboxedArgs, others: u64) -> Result<()> {
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 64),
        (Resource::RLIMIT_CPU, args.cpu_seconds),
        (Resource::RLIMIT_AS, args.memory_bytes),
        (Resource::RLIMIT_NPROC, others + args.processes),
    ] {
        // Who ignores the signal at the soft limit is killed at the hard one.
        let hard = if resource == Resource::RLIMIT_CPU { limit + 1 } else { limit };
        setrlimit(resource, limit, hard).with_context(|| format!("cannot limit {resource:?}"))?;
    }
    set_no_new_privs().context("cannot give up new privileges")?;
    set_pdeathsig(Signal::SIGKILL).context("cannot follow the caller to its end")
}

/// The first process of its namespace: when it ends, the kernel kills all others.
fn init(args: &SandboxedArgs) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("cannot follow the caller to its end")?;
    set_dumpable(false).context("cannot keep the program from looking into this process")?;
    let mut child = python(args).spawn().context("cannot start the interpreter")?;
    begin()?;
    let status = child.wait().context("cannot wait for the interpreter")?;
    Ok(match status.signal() {
        _ if status.success() => ExitCode::SUCCESS,
        Some(libc::SIGXCPU) => ExitCode::from(OUT_OF_TIME),
        _ => ExitCode::FAILURE,
    })
}

/// Tells whoever called that everything is set up.
fn begin() -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(READY.as_bytes()).and_then(|()| stdout.flush()).context("stdout is closed")
}

fn python(args: &SandboxedArgs) -> Command {
    let mut command = Command::new(&args.python);
    // Isolated from the environment and the user's packages; writes no byte code.
    command.args(["-I", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP, &args.mark]);
    command.env_clear().current_dir("/");
    command
}

/// Whether the kernel (since 5.14) counts a user's processes in each user namespace by itself.
fn counts_by_namespace() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// Processes and threads of a user: they count against the limit where the kernel counts them together.
fn processes_of(user: Uid) -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            };
            (field("Uid:")? == u64::from(user.as_raw())).then(|| field("Threads:")).flatten()
        })
        .sum()
}
