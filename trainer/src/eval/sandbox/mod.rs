//! Runs generated Python programs where they can do no harm.
//!
//! Each program gets processes of its own, started by this program's hidden subcommand `sandboxed` (see `inside`): a
//! session, namespaces for processes, network, mounts and inter-process communication, a root folder with nothing but
//! the interpreter in it, mounted read-only, no privileges, and limits on time, memory, files, processes and output.
//! Where the kernel gives no namespaces, the limits alone remain, and every report says so.

#[cfg(target_os = "linux")]
mod inside;
mod interpreter;
#[cfg(target_os = "linux")]
mod root;

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::atomic::sha256;
use interpreter::Interpreter;

/// What one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time on the clock, after which all its processes are killed.
    pub wall: Duration,
    /// Processor time of each of its processes, in seconds.
    pub cpu_seconds: u64,
    /// Address space of each of its processes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Bytes on stdout and stderr together.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(15),
            cpu_seconds: 5,
            memory_bytes: 512 << 20,
            processes: 24,
            output_bytes: 1 << 20,
        }
    }
}

/// What keeps a program from the rest of the machine.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces, a root folder of its own, and the limits.
    Namespaces,
    /// The limits alone: the network and the files are those of the user (of nobody, if that is root), though nothing can
    /// be written into a file.
    Limits,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It ran to its end without an exception.
    Passed,
    /// An exception, a signal, or an exit before its end.
    Failed,
    /// Its time was up, on the clock or on the processor.
    OutOfTime,
    /// It wrote more than it may.
    TooMuchOutput,
}

impl Ending {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::OutOfTime => "out of time",
            Self::TooMuchOutput => "too much output",
        }
    }
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub ending: Ending,
    /// The end of what it wrote.
    pub output: String,
}

/// A place to run programs in.
#[derive(Clone, Debug)]
pub struct Sandbox {
    helper: PathBuf,
    interpreter: Interpreter,
    limits: Limits,
    isolation: Isolation,
    reason: Option<String>,
}

/// What a report says about the sandbox.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxReport {
    /// What kept the programs from the rest of the machine.
    pub isolation: Isolation,
    /// Why there were no namespaces.
    pub reason: Option<String>,
    /// Seconds on the clock.
    pub wall_seconds: f64,
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Address space.
    pub memory_bytes: u64,
    /// Version of Python.
    pub python: String,
}

/// Arguments of the hidden subcommand that runs one program from stdin.
#[derive(clap::Args, Debug)]
pub struct SandboxedArgs {
    #[arg(long, value_enum)]
    isolation: Isolation,
    /// The interpreter.
    #[arg(long)]
    python: PathBuf,
    /// Folders that the program may read.
    #[arg(long = "readable")]
    readable: Vec<PathBuf>,
    #[arg(long)]
    cpu_seconds: u64,
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    processes: u64,
    /// What the interpreter prints when the program has ended well.
    #[arg(long)]
    mark: String,
}

/// What the inside prints when everything is set up and the program begins.
const READY: &str = "ready\n";
/// Exit code of the inside if the program used up its processor time.
const OUT_OF_TIME: u8 = 124;
/// How much of the output is kept.
const KEPT_OUTPUT: usize = 16 << 10;
/// Python that runs the program on stdin as the reference harness does, and then prints the mark.
const BOOTSTRAP: &str = "\
import os, sys
def run(mark, source, write=os.write):
    exec(compile(source, '<program>', 'exec'), {})
    write(1, mark)
run(sys.argv.pop().encode(), sys.stdin.buffer.read())
";

impl Sandbox {
    /// Opens a sandbox whose insides `helper` (this program) sets up, with the interpreter `python` (a name or a path),
    /// and tries it out.
    ///
    /// # Errors
    /// If the system is not Linux, or no program can be run even without namespaces.
    pub fn open(helper: &Path, python: &str, limits: Limits) -> Result<Self> {
        ensure!(
            cfg!(target_os = "linux"),
            "generated code is only run in a sandbox, and that needs Linux"
        );
        let interpreter = Interpreter::find(python)?;
        let mut sandbox = Self {
            helper: helper.to_owned(),
            interpreter,
            limits,
            isolation: Isolation::Namespaces,
            reason: None,
        };
        match sandbox.try_out() {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                sandbox.reason = Some(format!("{error:#}"));
                sandbox.without_namespaces()
            }
        }
    }

    /// The same sandbox without namespaces, as on a kernel that gives none.
    ///
    /// # Errors
    /// If an ordinary program does not run there.
    pub fn without_namespaces(mut self) -> Result<Self> {
        self.isolation = Isolation::Limits;
        self.reason.get_or_insert_with(|| "namespaces are switched off".into());
        self.try_out().with_context(|| {
            format!(
                "the sandbox does not work here without namespaces (root becomes another user in it, who must be able \
                 to read {}: name another Python with --python)",
                self.interpreter.executable.display()
            )
        })?;
        Ok(self)
    }

    /// What keeps programs from the rest of the machine.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The sandbox in a report.
    pub fn report(&self) -> SandboxReport {
        SandboxReport {
            isolation: self.isolation,
            reason: self.reason.clone(),
            wall_seconds: self.limits.wall.as_secs_f64(),
            cpu_seconds: self.limits.cpu_seconds,
            memory_bytes: self.limits.memory_bytes,
            python: self.interpreter.version.clone(),
        }
    }

    /// An ordinary program must pass.
    fn try_out(&self) -> Result<()> {
        let verdict =
            self.run("import math, typing, collections, hashlib\nassert math.pi > 3\n")?;
        ensure!(
            verdict.ending == Ending::Passed,
            "an ordinary program ends as {:?}: {}",
            verdict.ending,
            verdict.output.trim()
        );
        Ok(())
    }

    /// Runs one program to its end; when this returns, its processes are gone.
    ///
    /// # Errors
    /// If the sandbox cannot be set up; never because of what the program does.
    pub fn run(&self, program: &str) -> Result<Verdict> {
        let mark = sha256(program.as_bytes());
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = self.command(&mark);
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start the sandbox {}", self.helper.display()))?;
        // The command holds writing ends of the pipe: with them, the output would never end.
        drop(command);
        let stdin = child.stdin.take();
        let text = program.to_owned();
        // It ends with the child, whose end of the pipe is the only one. What the child does not read is its own affair.
        std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(text.as_bytes())));
        let output = follow(reader, self.limits.output_bytes);
        let ending = wait(&mut child, &output, Instant::now() + self.limits.wall);
        kill(&mut child);
        let (said, status) = ending?;
        // Without namespaces, a process that left the session may hold the pipe open.
        let said = said.or_else(|| output.recv_timeout(Duration::from_secs(1)).ok());
        let Some((kept, _)) = said else {
            let output = "a process was left behind".to_owned();
            return Ok(Verdict { ending: Ending::Failed, output });
        };
        verdict(&String::from_utf8_lossy(&kept), &mark, status)
    }

    fn command(&self, mark: &str) -> Command {
        let mut command = Command::new(&self.helper);
        command.env_clear().arg("sandboxed");
        let isolation = match self.isolation {
            Isolation::Namespaces => "namespaces",
            Isolation::Limits => "limits",
        };
        command.args(["--isolation", isolation, "--mark", mark, "--python"]);
        command.arg(&self.interpreter.executable);
        for folder in &self.interpreter.folders {
            command.arg("--readable").arg(folder);
        }
        let Limits { cpu_seconds, memory_bytes, processes, .. } = self.limits;
        for (name, value) in [
            ("--cpu-seconds", cpu_seconds),
            ("--memory-bytes", memory_bytes),
            ("--processes", processes),
        ] {
            command.args([name, &value.to_string()]);
        }
        command
    }
}

/// What the output and the end of a child say about its program.
fn verdict(kept: &str, mark: &str, status: Status) -> Result<Verdict> {
    ensure!(kept.contains(READY), "the sandbox did not start: {}", kept.trim());
    let ending = match status {
        Status::OutOfTime => Ending::OutOfTime,
        Status::TooMuchOutput => Ending::TooMuchOutput,
        Status::Exited(status) if used_up_its_time(status) => Ending::OutOfTime,
        Status::Exited(status) if status.success() && kept.contains(mark) => Ending::Passed,
        Status::Exited(_) => Ending::Failed,
    };
    let output = kept.replacen(READY, "", 1).replace(mark, "");
    Ok(Verdict { ending, output })
}

/// How the child ended.
enum Status {
    Exited(ExitStatus),
    OutOfTime,
    TooMuchOutput,
}

/// The end of the output, and whether it was too much.
type Output = (Vec<u8>, bool);

/// Reads to the end, or until it is too much.
fn follow(mut reader: std::io::PipeReader, limit: usize) -> Receiver<Output> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut total) = (Vec::new(), 0);
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            total += count;
            kept.extend(&chunk[..count]);
            if kept.len() > 2 * KEPT_OUTPUT {
                // The beginning says that the program began.
                kept.drain(READY.len()..kept.len() - KEPT_OUTPUT);
            }
            if total > limit {
                break;
            }
        }
        // Nobody waits any more if the sandbox is gone.
        let _ = sender.send((kept, total > limit));
    });
    receiver
}

/// Waits until the child has ended, has written too much, or `deadline` has passed.
fn wait(
    child: &mut Child,
    output: &Receiver<Output>,
    deadline: Instant,
) -> Result<(Option<Output>, Status)> {
    let mut said = None;
    let mut pause = Duration::from_millis(1);
    loop {
        if said.is_none() {
            match output.recv_timeout(pause) {
                Ok((kept, true)) => return Ok((Some((kept, true)), Status::TooMuchOutput)),
                Ok(all) => said = Some(all),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (),
            }
        } else {
            std::thread::sleep(pause);
        }
        if let Some(status) = child.try_wait().context("cannot wait for the sandbox")? {
            return Ok((said, Status::Exited(status)));
        }
        if Instant::now() >= deadline {
            return Ok((said, Status::OutOfTime));
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills the child and its session's processes. What it has put elsewhere ends with its namespace.
fn kill(child: &mut Child) {
    #[cfg(target_os = "linux")]
    inside::kill_session(child.id());
    // An error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(unix)]
fn used_up_its_time(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.code() == Some(i32::from(OUT_OF_TIME)) || status.signal() == Some(libc::SIGXCPU)
}

#[cfg(not(unix))]
fn used_up_its_time(status: ExitStatus) -> bool {
    status.code() == Some(i32::from(OUT_OF_TIME))
}

/// Runs the program on stdin as the arguments say: the hidden subcommand.
///
/// # Errors
/// If something of the sandbox cannot be set up; the program has not begun then.
pub fn run_sandboxed(args: &SandboxedArgs) -> Result<ExitCode> {
    #[cfg(target_os = "linux")]
    {
        inside::run(args)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = args;
        anyhow::bail!("the sandbox needs Linux")
    }
}
