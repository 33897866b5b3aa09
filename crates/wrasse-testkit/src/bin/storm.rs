//! The storm: `wrasse-storm [--rounds N] [--from N] [--seed S] [--jobs J] [--only CLASS]… [--guard WAY]
//! [--layers LIST] [--real-servers NODE_MODULES] [--record FILE] [--as-nobody]`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use wrasse_testkit::storm::{Kill, Options, run};

const NOBODY: u32 = 65_534;
const PROGRAMS: [&str; 4] = ["wrasse", "wrasse-fixture", "wrasse-oracle", "wrasse-storm"];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let before = words.len();
    words.retain(|word| word != "--as-nobody");
    if words.len() < before {
        return as_nobody(&words);
    }
    let options = match options(&words) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("wrasse-storm: {fault}");
            return ExitCode::from(64);
        }
    };
    println!(
        "seed {}, rounds {}..{}, {} at once",
        options.seed, options.from, options.rounds, options.jobs
    );
    let summary = run(options);
    println!("{summary}");
    if summary.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options { rounds: 100, jobs: 4, seed: seed(), ..Options::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--rounds" => options.rounds = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.seed = number()?,
            "--jobs" => options.jobs = usize::try_from(number()?).map_err(|e| e.to_string())?,
            "--minutes" => {
                options.time_max = Some(std::time::Duration::from_secs(60 * number()?));
            }
            "--only" => {
                let kill = Kill::ALL.into_iter().find(|kill| kill.name() == value);
                options.only.push(kill.ok_or_else(|| format!("no class {value}"))?);
            }
            "--servers" => options.servers = value.split(',').map(str::to_owned).collect(),
            "--guard" => options.guard = Some(value.clone()),
            "--layers" => options.layers = Some(value.split(',').map(str::to_owned).collect()),
            "--real-servers" => options.real_servers = Some(PathBuf::from(value)),
            "--record" => options.record = Some(PathBuf::from(value)),
            unknown => return Err(format!("unknown option {unknown}")),
        }
    }
    Ok(options)
}

fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

/// Copies the programs to where an ordinary user may read them, and storms as one without any privilege.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "starts itself as another user"
)]
fn as_nobody(words: &[String]) -> ExitCode {
    if let Err(error) = open_record(words) {
        eprintln!("wrasse-storm: --record: {error}");
        return ExitCode::FAILURE;
    }
    let folder = match copies() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("wrasse-storm: cannot copy the programs: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = Command::new(folder.path().join("wrasse-storm"))
        .args(words)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .gid(NOBODY)
        .uid(NOBODY)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("wrasse-storm: cannot become nobody: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the file that the rounds are recorded in, for everybody to write.
fn open_record(words: &[String]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let named = words.windows(2).find(|pair| pair[0] == "--record");
    let Some([_, path]) = named else { return Ok(()) };
    let file = std::fs::File::options().create(true).append(true).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o666))
}

fn copies() -> std::io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let exe = std::env::current_exe()?;
    let from = exe.parent().unwrap_or(Path::new("/"));
    let folder = tempfile::Builder::new().prefix("wrasse-storm-").tempdir()?;
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755));
    open(folder.path())?;
    for name in PROGRAMS {
        let copy = folder.path().join(name);
        std::fs::copy(from.join(name), &copy)?;
        open(&copy)?;
    }
    Ok(folder)
}
