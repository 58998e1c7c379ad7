//! The password file (`~/.pgpass`, `PGPASSFILE`): lines `host:port:database:user:password`, `*` for any.

use std::path::{Path, PathBuf};

use super::connect_config::{Host, SOCKET_DIRS, Secret};

/// What a password file said, or why it was not asked.
pub(super) struct PassFile {
    lines: Vec<String>,
}

impl PassFile {
    /// Reads the file; as in libpq, one that is missing is no error, and one that others may read is not trusted.
    pub(super) fn read(path: &Path) -> Result<PassFile, String> {
        let Ok(meta) = std::fs::metadata(path) else { return Ok(PassFile { lines: Vec::new() }) };
        if !meta.is_file() {
            return Err(format!("the password file {} is not a plain file", path.display()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if meta.permissions().mode() & 0o077 != 0 {
                return Err(format!(
                    "the password file {} is not used, since others may read it (chmod 0600 it)",
                    path.display()
                ));
            }
        }
        match std::fs::read(path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                Ok(PassFile { lines: text.lines().map(str::to_owned).collect() })
            }
            Err(e) => Err(format!("the password file {} cannot be read: {e}", path.display())),
        }
    }

    /// The password of the first line that fits.
    pub(super) fn password(&self, host: &Host, port: u16, dbname: &str, user: &str) -> Option<Secret> {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            // The default socket directories are called `localhost`, as in libpq.
            Host::Unix(dir) if SOCKET_DIRS.iter().any(|d| Path::new(d) == dir) => "localhost".into(),
            Host::Unix(dir) => dir.display().to_string(),
        };
        let port = port.to_string();
        self.lines.iter().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut rest = line.as_str();
            for wanted in [host.as_str(), &port, dbname, user] {
                let (field, any, tail) = field(rest)?;
                if !any && field != wanted {
                    return None;
                }
                rest = tail;
            }
            let (password, ..) = field_to_end(rest);
            (!password.is_empty()).then(|| Secret::new(password))
        })
    }
}

/// The next field, whether it is a bare `*`, and what follows its colon.
fn field(text: &str) -> Option<(String, bool, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            ':' => return Some((value, &text[..at] == "*", &text[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

/// The password: up to a colon or the end of the line.
fn field_to_end(text: &str) -> (String, bool, &str) {
    let closed = format!("{text}:");
    let value = field(&closed).map(|(value, ..)| value).unwrap_or_default();
    (value, false, "")
}

/// Where the password file is unless a parameter says so.
pub(super) fn default_path(home: Option<&Path>) -> Option<PathBuf> {
    home.map(|home| home.join(".pgpass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_wins_and_escapes_are_undone() {
        let file = PassFile {
            lines: [
                "# a comment:*:*:*:no",
                "db1:5432:app:alice:first",
                "db1:*:*:alice:sec\\:ond\\\\",
                "localhost:*:*:*:socket",
                "*:*:*:\\*:star",
                "broken line",
                "*:*:*:bob:bobs:ignored",
            ]
            .map(String::from)
            .into(),
        };
        let ask = |host: &str, port, db: &str, user: &str| {
            let host = match host.starts_with('/') {
                true => Host::Unix(host.into()),
                false => Host::Tcp(host.into()),
            };
            file.password(&host, port, db, user).map(|s| s.expose().to_owned())
        };
        assert_eq!(ask("db1", 5432, "app", "alice").as_deref(), Some("first"));
        assert_eq!(ask("db1", 5433, "app", "alice").as_deref(), Some("sec:ond\\"));
        assert_eq!(ask("/tmp", 1, "x", "y").as_deref(), Some("socket"));
        assert_eq!(ask("db2", 1, "x", "*").as_deref(), Some("star"));
        assert_eq!(ask("db2", 1, "x", "bob").as_deref(), Some("bobs"));
        assert_eq!(ask("db2", 1, "x", "carol"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("leakpool-pgpass-{}", std::process::id()));
        std::fs::write(&path, "*:*:*:*:s3cret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = PassFile::read(&path).err().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let read = PassFile::read(&path).ok().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(refused.contains("others may read it") && !refused.contains("s3cret"), "{refused}");
        assert!(read.password(&Host::Tcp("h".into()), 1, "d", "u").is_some());
        assert!(PassFile::read(&path).is_ok(), "a missing file is no error");
    }
}
