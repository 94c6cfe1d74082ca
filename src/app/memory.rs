//! How much memory this process may use: the machine's, or less in a container.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes. `None`: the kernel does not say. `root`: where `proc` and `sys` are.
pub(super) fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|group| group_limit(root, group)).chain(of_machine(root)).min()
}

fn of_machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits for a line such as `0::/a/b` (cgroup v2) or `4:memory:/a/b` (v1). The limits of parent groups count too.
fn group_limit(root: &Path, group: &str) -> Option<u64> {
    let mut parts = group.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        v1 if v1.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // In a container the mount may be the group itself, so that the path leads nowhere.
    let path: PathBuf = root.join(mount).join(path.trim_start_matches('/'));
    let groups = path.ancestors().take_while(|folder| folder.starts_with(root.join(mount)));
    // "max": none.
    groups.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        4096 kB\nMemFree:          100 kB\n");

    #[test]
    fn limit_is_the_smallest_of_machine_and_groups() {
        let v2 = ("proc/self/cgroup", "0::/pod/box\n");
        let limit_of = |files: &[_]| limit(machine(files).path());
        assert_eq!(limit_of(&[]), None);
        assert_eq!(limit_of(&[MEMINFO]), Some(4 << 20));
        assert_eq!(limit_of(&[MEMINFO, v2, ("sys/fs/cgroup/pod/box/memory.max", "max\n")]), Some(4 << 20));
        assert_eq!(limit_of(&[MEMINFO, v2, ("sys/fs/cgroup/pod/box/memory.max", "1048576\n")]), Some(1 << 20));
        let above = ("sys/fs/cgroup/pod/memory.max", "524288\n");
        assert_eq!(limit_of(&[MEMINFO, v2, ("sys/fs/cgroup/pod/box/memory.max", "max\n"), above]), Some(512 << 10));
        assert_eq!(
            limit_of(&[MEMINFO, v2, ("sys/fs/cgroup/memory.max", "65536\n")]),
            Some(64 << 10),
            "the mount itself"
        );
    }

    #[test]
    fn limit_of_the_older_groups_is_read_too() {
        let v1 = ("proc/self/cgroup", "8:pids:/a\n4:memory:/a/b\n0::/\n");
        let folder = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        let limit_of = |files: &[_]| limit(machine(files).path());
        assert_eq!(limit_of(&[MEMINFO, v1, (folder, "9223372036854771712\n")]), Some(4 << 20));
        assert_eq!(limit_of(&[MEMINFO, v1, (folder, "1048576\n")]), Some(1 << 20));
    }
}
