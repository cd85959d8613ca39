//! Programs that mean harm end as failures, within their limits, and leave nothing behind.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use diffcoder_train::eval::sandbox::{Ending, Isolation, Limits, Sandbox, Verdict};

const LIMITS: Limits = Limits {
    wall: Duration::from_secs(20),
    cpu_seconds: 1,
    memory_bytes: 256 << 20,
    processes: 16,
    output_bytes: 256 << 10,
};

/// Both ways to run a program, as far as they work here.
fn sandboxes(limits: Limits) -> Vec<Sandbox> {
    [isolated(limits), plain(limits)].into_iter().flatten().collect()
}

/// The sandbox without namespaces. Where the tests run as root, its Python must be one that others can read.
fn plain(limits: Limits) -> Option<Sandbox> {
    let helper = Path::new(env!("CARGO_BIN_EXE_diffcoder-train"));
    let open = |python| Sandbox::open(helper, python, limits)?.without_namespaces();
    let found = open("python3").or_else(|_| open("/usr/bin/python3"));
    if let Err(error) = &found {
        eprintln!("not tested: programs without namespaces ({error:#})");
    }
    found.ok()
}

/// The sandbox with namespaces, if the kernel gives them.
fn isolated(limits: Limits) -> Option<Sandbox> {
    let helper = Path::new(env!("CARGO_BIN_EXE_diffcoder-train"));
    let sandbox = Sandbox::open(helper, "python3", limits).unwrap();
    if sandbox.isolation() == Isolation::Limits {
        let reason = sandbox.report().reason.unwrap_or_default();
        eprintln!("not tested: what only namespaces prevent, for there are none here ({reason})");
        return None;
    }
    Some(sandbox)
}

fn run(sandbox: &Sandbox, program: &str) -> Verdict {
    let started = Instant::now();
    let verdict = sandbox.run(program).unwrap();
    assert!(started.elapsed() < LIMITS.wall + Duration::from_secs(10), "{program}");
    verdict
}

#[test]
fn what_runs_to_its_end_passes_and_what_raises_fails() {
    for sandbox in sandboxes(LIMITS) {
        let verdict = run(&sandbox, "import json\nassert json.loads('[1]') == [1]\nprint('é')\n");
        assert_eq!((verdict.ending, verdict.output.trim()), (Ending::Passed, "é"));
        for program in [
            "assert 1 == 2",
            "this is no Python",
            "import sys; sys.exit(0)",
            "import os; os._exit(0)",
            "import os; os.abort()",
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "def f(): f()\nf()",
            "input()",
        ] {
            let verdict = run(&sandbox, program);
            assert_eq!(verdict.ending, Ending::Failed, "{program}: {}", verdict.output);
        }
        let long = format!("assert len('{}') == 300000\n", "x".repeat(300_000));
        assert_eq!(run(&sandbox, &long).ending, Ending::Passed);
    }
}

#[test]
fn endless_loops_end() {
    for sandbox in sandboxes(LIMITS) {
        assert_eq!(run(&sandbox, "while True: pass").ending, Ending::OutOfTime);
        // It takes no notice of the signal.
        let deaf = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass";
        assert_ne!(run(&sandbox, deaf).ending, Ending::Passed);
    }
    for sandbox in sandboxes(Limits { wall: Duration::from_secs(3), ..LIMITS }) {
        let started = Instant::now();
        let verdict = run(&sandbox, "import time\nwhile True: time.sleep(1)");
        assert_eq!(verdict.ending, Ending::OutOfTime, "sleeping takes no processor time");
        assert!(started.elapsed() >= Duration::from_secs(3));
    }
}

#[test]
fn memory_files_and_output_are_bounded() {
    for sandbox in sandboxes(LIMITS) {
        let verdict = run(&sandbox, "hog = bytearray(1 << 30)");
        assert_eq!(verdict.ending, Ending::Failed);
        assert!(verdict.output.contains("MemoryError"), "{}", verdict.output);
        assert_eq!(run(&sandbox, "while True: print('x' * 1000)").ending, Ending::TooMuchOutput);
        let files = "files = [open(__import__('sys').executable) for _ in range(200)]";
        let verdict = run(&sandbox, files);
        assert!(verdict.output.contains("Too many open files"), "{}", verdict.output);
    }
}

#[test]
fn nothing_is_written_to_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "precious").unwrap();
    let target = dir.path().to_str().unwrap();
    for sandbox in sandboxes(LIMITS) {
        let write = format!("open('{target}/huge', 'w').write('x' * (1 << 20))");
        assert_eq!(run(&sandbox, &write).ending, Ending::Failed);
        let written = std::fs::metadata(dir.path().join("huge")).map_or(0, |file| file.len());
        assert_eq!(written, 0);
    }
    let Some(sandbox) = isolated(LIMITS) else { return };
    // Empty files and removals are not a matter of size: with namespaces the folder is not there at all.
    // Without namespaces an empty file may have been made, unless root became nobody there.
    if dir.path().join("huge").exists() {
        std::fs::remove_file(dir.path().join("huge")).unwrap();
    }
    let harm = format!(
        "import os\nfor path in ['{target}', '/tmp', '/home', '/etc', '/proc', '/dev', '/run', '/var']:\n    assert not os.path.exists(path) or not os.listdir(path), path\n"
    );
    let verdict = run(&sandbox, &harm);
    assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
    let places = "\
import os, sys
for place in ['/', '/usr', '/usr/lib', os.path.dirname(os.__file__), os.path.dirname(sys.executable)]:
    for act in [lambda: open(place + '/new', 'w'), lambda: os.mkdir(place + '/new'), lambda: os.chmod(place, 0o777)]:
        try:
            act()
        except OSError:
            pass
        else:
            raise SystemExit(place)
try:
    os.remove(sys.executable)
except OSError as error:
    pass
else:
    raise SystemExit('removed')
";
    let verdict = run(&sandbox, places);
    assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
    assert_eq!(std::fs::read(dir.path().join("precious")).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn there_is_no_network_no_privilege_and_no_other_process() {
    let Some(sandbox) = isolated(LIMITS) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let connect = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)");
    assert_eq!(run(&sandbox, &connect).ending, Ending::Failed);
    assert!(listener.accept().is_err(), "nobody called");
    let privileges = "\
import ctypes, os
assert os.getuid() != 0 and os.geteuid() != 0
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mount(None, b'/', None, 32, None) == -1
assert libc.unshare(0x00020000) == -1
assert libc.prctl(39, 0, 0, 0, 0) == 1
assert libc.ptrace(16, 1, None, None) == -1
for pid in range(3, 400):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        pass
    else:
        assert pid == os.getpid(), pid
for act in [lambda: os.setuid(0), lambda: os.kill(1, 9)]:
    try:
        act()
    except OSError:
        pass
assert os.getuid() != 0
";
    let verdict = run(&sandbox, privileges);
    assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
    assert_eq!(
        run(&sandbox, "import os\nassert dict(os.environ).keys() <= {'LC_CTYPE'}").ending,
        Ending::Passed
    );
}

#[test]
fn a_fork_bomb_is_bounded_and_gone() {
    let bomb = "\
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(30)
        children += 1
except BlockingIOError:
    pass
assert children < 64, children
print('children', children)
";
    for sandbox in sandboxes(LIMITS) {
        let verdict = run(&sandbox, bomb);
        assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
        assert!(verdict.output.contains("children"), "{}", verdict.output);
        assert_eq!(run(&sandbox, "import os\nwhile True: os.fork()").ending, Ending::Failed);
        let next = run(&sandbox, "pass").ending;
        assert_eq!(next, Ending::Passed, "the next one has all its processes");
    }
}

/// A child that leaves its session and goes on would write into the pipe that it was given.
#[test]
fn a_child_that_is_left_behind_is_killed() {
    let Some(sandbox) = isolated(LIMITS) else { return };
    let leave = "\
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
        os.write(1, b'still here')
    os._exit(0)
";
    let started = Instant::now();
    let verdict = run(&sandbox, leave);
    assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
    assert!(started.elapsed() < Duration::from_secs(15), "the output ends with the program");
}

/// The same without namespaces: what stays in the session is killed, and the rest does not hold anyone up.
#[test]
fn a_child_left_behind_holds_nobody_up_without_namespaces() {
    let Some(sandbox) = plain(LIMITS) else { return };
    let stay = "import os, time\nif os.fork() == 0: time.sleep(1000)\n";
    let verdict = run(&sandbox, stay);
    assert_eq!(verdict.ending, Ending::Passed, "{}", verdict.output);
    let leave = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(4)\n";
    let started = Instant::now();
    assert_eq!(run(&sandbox, leave).ending, Ending::Failed);
    assert!(started.elapsed() < Duration::from_millis(3900), "nobody waits for it");
}

#[test]
fn what_is_no_python_is_refused_in_a_sentence() {
    let helper = Path::new(env!("CARGO_BIN_EXE_diffcoder-train"));
    for python in ["no-such-python", "true", "false"] {
        let error = Sandbox::open(helper, python, LIMITS).unwrap_err();
        assert!(format!("{error:#}").contains("--python"), "{error:#}");
    }
}

/// `eval` is killed while a program runs: the program goes too.
#[test]
fn programs_end_with_their_caller() {
    let Some(_) = isolated(LIMITS) else { return };
    let dir = tempfile::tempdir().unwrap();
    let problem = serde_json::json!({
        "task_id": "t/0", "prompt": "import time\n", "suffix": "", "canonical_solution": "time.sleep(1000)\n",
        "test": "def check(f): pass", "entry_point": "time",
    });
    std::fs::write(dir.path().join("a.jsonl"), problem.to_string()).unwrap();
    let mut eval = Command::new(env!("CARGO_BIN_EXE_diffcoder-train"))
        .args([
            "eval",
            "--suite",
            "humaneval-infilling",
            "--completions",
            "canonical",
            "--allow-exec",
            "--data",
        ])
        .arg(dir.path().join("a.jsonl"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let sandboxed = || {
        let parent = format!("PPid:\t{}\n", eval.id());
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        entries
            .filter(|entry| {
                std::fs::read_to_string(entry.path().join("status"))
                    .is_ok_and(|status| status.contains(&parent))
            })
            .map(|entry| entry.path())
            .next()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    // The first children try the sandbox out; one that lasts is the program's.
    let mut last = None;
    let child = loop {
        let now = sandboxed();
        if let Some(now) = now.clone()
            && Some(&now) == last.as_ref()
        {
            break now;
        }
        assert!(Instant::now() < deadline, "no program was started");
        last = now;
        std::thread::sleep(Duration::from_millis(700));
    };
    eval.kill().unwrap();
    eval.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.exists() {
        assert!(Instant::now() < deadline, "{} is left", child.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut said = String::new();
    eval.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}
