//! Servers of other people's making, started on the loopback for one test and ended with it,
//! however it ends.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::space::TestSpace;

/// What the S3 server with authentication knows its one user by.
pub const KEY: &str = "AKIARIBFLOWTEST00000";
pub const SECRET: &str = "ribflow-secret-ribflow-secret-ribflow0";
pub const BUCKET: &str = "ribflow";

/// A server and its folder.
pub struct Server {
    /// `http://127.0.0.1:…`
    pub url: String,
    process: Process,
    _space: TestSpace,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself can't be ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Ends it: from now on nobody answers there.
    pub fn end(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
    }

    fn start(space: TestSpace, prepare: impl Fn(&TestSpace, u16) -> Command) -> Self {
        // Between finding a free port and listening on it another process may take it.
        for _ in 0..5 {
            let port = free_port();
            let mut command = prepare(&space, port);
            let log = fs::File::create(space.path("log")).unwrap();
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log);
            let mut process = Process(command.spawn().unwrap());
            if listens(&mut process.0, port) {
                return Self {
                    url: format!("http://127.0.0.1:{port}"),
                    process,
                    _space: space,
                };
            }
        }
        panic!("the server does not start:\n{}", space.read("log"));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens; `false` where the server ends before that.
fn listens(process: &mut Child, port: u16) -> bool {
    let until = Instant::now() + Duration::from_secs(120);
    while Instant::now() < until {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Where a tool is: in the folder of the test tools, or on the path. Under `RIBFLOW_TEST_ALL` a
/// missing one is a failure, otherwise a line that says so.
pub fn tool(names: &[&str], how: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    tool_in(&[own_folders(), elsewhere.collect()].concat(), names, how)
}

/// Of those that `.ci/run` installs only: an older one on the path may do other things.
pub fn own_tool(names: &[&str], how: &str) -> Option<PathBuf> {
    tool_in(&own_folders(), names, how)
}

fn own_folders() -> Vec<PathBuf> {
    let tools = std::env::var_os("RIBFLOW_TEST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"),
        PathBuf::from,
    );
    vec![tools.join("bin"), tools.join("venv/bin")]
}

fn tool_in(folders: &[PathBuf], names: &[&str], how: &str) -> Option<PathBuf> {
    let found = folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|path| path.is_file());
    assert!(
        found.is_some() || std::env::var_os("RIBFLOW_TEST_ALL").is_none(),
        "{} is needed: {how}",
        names[0]
    );
    if found.is_none() {
        println!("skipped: {} is not installed: {how}", names[0]);
    }
    found
}

/// An S3 server that checks who asks, with one empty bucket. Its conditional writes are a look
/// and a write.
pub fn s3_with_authentication() -> Option<Server> {
    let program = tool(
        &["s3s-fs"],
        "cargo install s3s-fs --version 0.14.1 --features binary --locked --root target/test-tools",
    )?;
    let space = TestSpace::new();
    fs::create_dir_all(space.path("data").join(BUCKET)).unwrap();
    Some(Server::start(space, |space, port| {
        let mut command = Command::new(&program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", KEY, "--secret-key", SECRET])
            .arg(space.path("data"))
            .env("RUST_LOG", "warn");
        command
    }))
}

/// An S3 server of which one of several writers at once wins, with one empty bucket. It lets
/// everybody in.
pub fn s3_with_conditions() -> Option<Server> {
    let program = tool(
        &["moto_server"],
        "python3 -m venv target/test-tools/venv, target/test-tools/venv/bin/pip install 'moto[server]'",
    )?;
    let server = Server::start(TestSpace::new(), |_, port| {
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let made = put_nothing(&format!("{}/{BUCKET}", server.url));
    assert_eq!(made, 200, "the bucket");
    Some(server)
}

/// A `PUT` of nothing.
fn put_nothing(url: &str) -> u16 {
    ureq::put(url).send_empty().unwrap().status().as_u16()
}

/// What nginx is to do in a test.
#[derive(Clone, Copy, PartialEq)]
pub enum Nginx {
    /// `PUT`, `DELETE`, `MKCOL` and `PROPFIND`, without an index.
    Dav,
    /// An index of every folder in JSON, and nothing else.
    Json,
}

/// nginx over a folder that has these files.
pub fn nginx(kind: Nginx, files: &[(&str, &[u8])]) -> Option<Server> {
    let how = "apt-get install nginx-light libnginx-mod-http-dav-ext";
    let program = tool(&["nginx"], how)?;
    let module = Path::new("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so");
    if kind == Nginx::Dav && !module.is_file() {
        tool(&["ngx_http_dav_ext_module.so"], how)?;
    }
    let space = TestSpace::new();
    fs::create_dir_all(space.path("data")).unwrap();
    fs::create_dir_all(space.path("tmp")).unwrap();
    for (name, content) in files {
        space.write(&format!("data/{name}"), content);
    }
    Some(Server::start(space, |space, port| {
        let configuration = configuration(kind, module, space, port);
        let path = space.write("nginx.conf", configuration);
        let mut command = Command::new(&program);
        command.arg("-c").arg(path);
        command
    }))
}

fn configuration(kind: Nginx, module: &Path, space: &TestSpace, port: u16) -> String {
    let root = space.root().display().to_string();
    let (load, location) = match kind {
        Nginx::Dav => (
            format!("load_module {};", module.display()),
            "dav_methods PUT DELETE MKCOL; dav_ext_methods PROPFIND OPTIONS;
             create_full_put_path on; dav_access user:rw group:r all:r;",
        ),
        Nginx::Json => (String::new(), "autoindex on; autoindex_format json;"),
    };
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {root}/tmp;\n"))
        .collect();
    // Without `user`, workers of a server that root starts could not read the test's folder.
    let user = match is_root() {
        true => "user root;",
        false => "",
    };
    format!(
        "{load}
         daemon off; master_process off; {user} worker_processes 1;
         pid {root}/pid; error_log {root}/error.log warn;
         events {{ worker_connections 256; }}
         http {{
           access_log off; client_max_body_size 0;
           {folders}
           server {{ listen 127.0.0.1:{port}; root {root}/data; location / {{ {location} }} }}
         }}"
    )
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// An S3 server that knows one user, refuses everybody else, and lets one of several writers at
/// once win; with the user's variables.
pub fn s3_of_a_lab() -> Option<(Server, Vec<(String, String)>)> {
    let how = "python3 -m venv target/test-tools/venv, target/test-tools/venv/bin/pip install 'moto[server]'";
    let program = own_tool(&["moto_server"], how)?;
    let python = program.with_file_name("python");
    let server = Server::start(TestSpace::new(), |_, port| {
        let mut command = Command::new(&program);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // So many calls make the user and the bucket; from then on everybody is asked who
            // they are.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "4");
        command
    });
    let made = Command::new(python)
        .args(["-c", USER_AND_BUCKET, &server.url, BUCKET])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let mut words = said.split_whitespace().map(str::to_string);
    let (Some(key), Some(secret)) = (words.next(), words.next()) else {
        panic!("{}", String::from_utf8_lossy(&made.stderr));
    };
    let environment = [
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ALLOW_HTTP", "true".to_string()),
    ];
    let environment = environment.map(|(name, value)| (name.to_string(), value));
    Some((server, environment.to_vec()))
}

const USER_AND_BUCKET: &str = r#"
import json, sys, boto3
url, bucket = sys.argv[1:]
words = dict(endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
iam = boto3.client("iam", **words)
iam.create_user(UserName="lab")
key = iam.create_access_key(UserName="lab")["AccessKey"]
allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="lab", PolicyName="s3", PolicyDocument=json.dumps(allowed))
boto3.client("s3", **words).create_bucket(Bucket=bucket)
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// The Python that has the validator of research object crates.
pub fn crate_validator() -> Option<PathBuf> {
    let how = "target/test-tools/venv/bin/pip install roc-validator==0.13.0 rocrate==0.13.0";
    let program = tool(&["rocrate-validator"], how)?;
    Some(program.with_file_name("python"))
}
