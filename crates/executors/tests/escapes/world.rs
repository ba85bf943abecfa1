//! What there is to be reached from a task: secrets, files that may not be changed, listeners, another process. It does
//! not know how somebody tries to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The word to be got. Listeners, victim and scripts know it; nothing else prints it.
const WORD: &str = "CANARY";
const PRELUDE: &str = "import ctypes, os, re, socket, sys; libc=ctypes.CDLL(None, use_errno=True); \
                       S, O, W, V=(os.environ[n] for n in ('S', 'O', 'W', 'VICTIM'))";

pub(crate) struct World {
    folder: tempfile::TempDir,
    shared: tempfile::TempDir,
    tcp: [Option<TcpListener>; 2],
    udp: UdpSocket,
    unix: UnixListener,
    datagrams: UnixDatagram,
    abstract_name: String,
    abstract_socket: UnixListener,
    victim: Child,
    shm: String,
    blob: String,
    before: BTreeMap<PathBuf, String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |name: &str, text: &str, mode: u32| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        put("secret/key.txt", "CANARY-key\n", 0o644);
        put("secret/key.sh", "echo CANARY-sourced\n", 0o644);
        put("secret/leak.py", "print('CANARY-imported')\n", 0o644);
        put("secret/gitconfig", "[word]\n\tis = CANARY-config\n", 0o644);
        put("secret/tell", "#!/bin/sh\necho CANARY-told\n", 0o755);
        put("secret/hooks/pre-commit", "#!/bin/sh\necho CANARY-hook\n", 0o755);
        put("secret/repo/note", "CANARY-note\n", 0o644);
        put("open/file", "as it was\n", 0o644);
        put("open/run.sh", "#!/bin/sh\n", 0o755);
        put("work/sub/.env", "CANARY-sub\n", 0o644);
        put("work/.env", "CANARY-env\n", 0o644);
        put("work/x.pem", "CANARY-pem\n", 0o644);
        put("work/denied/deep/key.txt", "CANARY-deep\n", 0o644);
        std::fs::create_dir(root.join("open/empty")).unwrap();
        let python = format!("#!/bin/sh\ncode=$1; shift; exec python3 -c \"{PRELUDE}\n$code\" \"$@\"\n");
        put("open/python", &python, 0o755);
        let git = |words: &[&str]| {
            let output = Command::new("git").arg("-C").arg(root.join("secret/repo")).args(words).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q"]);
        git(&["add", "note"]);
        git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"]);
        let blob = git(&["rev-parse", "HEAD:note"]);

        // It has the secret open, in its memory and in its environment, and shares memory with whoever asks.
        let keep = "import ctypes, os, time; libc=ctypes.CDLL(None); libc.prctl(1, 9); os.dup2(os.open('key.txt', 0), 9); \
                    libc.shmat.restype=ctypes.c_void_p; i=libc.shmget(KEY, 4096, 0o1600); \
                    ctypes.memmove(ctypes.c_void_p(libc.shmat(i, None, 0)), b'CANARY-shared', 13); \
                    print('ready', flush=True); time.sleep(1000)";
        let shm = (std::process::id() << 8 | rand()).to_string();
        let mut victim = Command::new("python3");
        victim
            .args(["-c", &keep.replace("KEY", &shm)])
            .current_dir(root.join("secret"))
            .env("WORD", "CANARY-environment");
        let mut victim = victim.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(victim.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();

        let tcp = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).ok());
        tcp.iter().flatten().for_each(|listener| listener.set_nonblocking(true).unwrap());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        let unix = UnixListener::bind(root.join("listener")).unwrap();
        unix.set_nonblocking(true).unwrap();
        let datagrams = UnixDatagram::bind(root.join("datagrams")).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let abstract_name = format!("raddle-escape-{shm}");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        abstract_socket.set_nonblocking(true).unwrap();
        let shared = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut world = World {
            tcp,
            udp,
            unix,
            datagrams,
            abstract_name,
            abstract_socket,
            victim,
            shm,
            blob,
            before: BTreeMap::new(),
            shared,
            folder,
        };
        world.before = world.state();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What scripts know.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let at = |name: &str| self.path(name).display().to_string();
        let port = |i: usize| self.tcp[i].as_ref().map_or(0, |l| l.local_addr().unwrap().port()).to_string();
        let variables = [
            ("S", at("secret")),
            ("O", at("open")),
            ("W", at("work")),
            ("PY", at("open/python")),
            ("VICTIM", self.victim.id().to_string()),
            // Programs of the system's own, which work wherever they may be executed.
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
            ("PORT", port(0)),
            ("PORT6", port(1)),
            ("UDP", self.udp.local_addr().unwrap().port().to_string()),
            ("SOCK", at("listener")),
            ("DGRAM", at("datagrams")),
            ("ABSTRACT", self.abstract_name.clone()),
            ("SHM", self.shm.clone()),
            ("SHM_FOLDER", self.shared.path().display().to_string()),
            ("BLOB", self.blob.clone()),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What was achieved by who said that; `None` for nothing.
    pub(crate) fn damage(&self, said: &str) -> Option<String> {
        if let Some(line) = said.lines().find(|line| line.contains(WORD)) {
            return Some(format!("it says {line:?}"));
        }
        let after = self.state();
        if let Some((path, _)) = after.iter().find(|entry| self.before.get(entry.0) != Some(entry.1)) {
            return Some(format!("it has changed or made {}", path.display()));
        }
        if let Some(path) = self.before.keys().find(|path| !after.contains_key(*path)) {
            return Some(format!("it has removed {}", path.display()));
        }
        let mut byte = [0; 1];
        let reached = [
            ("TCP", self.tcp.iter().flatten().any(|listener| listener.accept().is_ok())),
            ("UDP", self.udp.recv(&mut byte).is_ok()),
            ("a socket", self.unix.accept().is_ok()),
            ("a socket of datagrams", self.datagrams.recv(&mut byte).is_ok()),
            ("an abstract socket", self.abstract_socket.accept().is_ok()),
        ];
        if let Some((what, _)) = reached.iter().find(|(_, is_reached)| *is_reached) {
            return Some(format!("it has reached {what}"));
        }
        let dead = !crate::kit::alive(&self.victim.id().to_string());
        dead.then(|| "it has killed another process".to_owned())
    }

    /// Everything about the files that must not change.
    fn state(&self) -> BTreeMap<PathBuf, String> {
        let mut state = BTreeMap::new();
        for folder in [&self.path("open"), &self.path("secret"), self.shared.path()] {
            describe(folder, &mut state);
        }
        state
    }
}

fn describe(path: &Path, state: &mut BTreeMap<PathBuf, String>) {
    let Ok(about) = path.symlink_metadata() else { return };
    let content = if about.is_file() { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let mut attribute = [0u8; 8];
    let attributes = rustix::fs::lgetxattr(path, "user.x", &mut attribute[..]).is_ok();
    // Reading a folder changes when it was read, and nothing else here.
    let what =
        format!("{:o} {} {} {} {attributes} {content:?}", about.mode(), about.uid(), about.gid(), about.nlink(),);
    let times = format!("{what} {}.{}", about.mtime(), about.mtime_nsec());
    state.insert(path.to_owned(), times);
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if !path.join(entry.file_name()).is_symlink() {
            describe(&entry.path(), state);
        }
    }
    // Names alone, for what is linked.
    if let Ok(entries) = std::fs::read_dir(path) {
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        state.insert(path.join("?"), format!("{names:?}"));
    }
}

fn rand() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32 & 0xFF
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let key = self.shm.parse().unwrap();
        // SAFETY: removes the segment that the victim made.
        unsafe { libc::shmctl(libc::shmget(key, 0, 0), libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
