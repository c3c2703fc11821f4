//! Who owns a claim: an instance, and the process that it is at the moment.

use std::fs;

/// `instance@boot:namespace:pid:start`, as it is kept in the state of a claim.
///
/// The boot id and the PID namespace say whether a process id means anything here; its start time tells a process from
/// a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    instance: String,
    boot: String,
    namespace: String,
    pid: u32,
    start: String,
}

impl Owner {
    /// This process.
    pub(super) fn this_process(instance: &str) -> Owner {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Owner {
            instance: instance.to_owned(),
            boot: boot.trim().to_owned(),
            namespace: namespace(),
            pid,
            start: start_time(pid).unwrap_or_default(),
        }
    }

    fn parse(text: &str) -> Option<Owner> {
        let (instance, process) = text.rsplit_once('@')?;
        let mut parts = process.split(':');
        let owner = Owner {
            instance: instance.to_owned(),
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether `other` is this very instance in an earlier process that provably does not run any more.
    pub(super) fn has_outlived(&self, other: &str) -> bool {
        Owner::parse(other).is_some_and(|other| other.instance == self.instance && self.sees_end_of(&other))
    }

    /// Whether `other`, of whatever instance, is a process that provably does not run any more.
    pub(super) fn is_gone(&self, other: &str) -> bool {
        Owner::parse(other).is_some_and(|other| self.sees_end_of(&other))
    }

    fn sees_end_of(&self, other: &Owner) -> bool {
        let comparable = !self.boot.is_empty() && !self.namespace.is_empty() && !other.start.is_empty();
        comparable
            && other.boot == self.boot
            && other.namespace == self.namespace
            && start_time(other.pid).as_ref() != Some(&other.start)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Owner {
            instance,
            boot,
            namespace,
            pid,
            start,
        } = self;
        write!(f, "{instance}@{boot}:{namespace}:{pid}:{start}")
    }
}

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

/// Clock ticks between boot and the start of the process; `None` when there is none, or only its exit status is left.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?; // the program's name before it may contain anything
    let mut fields = rest.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_process_of_the_same_instance_is_gone() {
        let me = Owner::this_process("host@a:1");
        assert_eq!(Owner::parse(&me.to_string()), Some(me.clone()));
        assert!(!me.has_outlived(&me.to_string()));

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Owner {
            pid: child.id(),
            start: start_time(child.id()).unwrap(),
            ..me.clone()
        };
        assert!(!me.has_outlived(&other.to_string()), "it runs");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(me.has_outlived(&other.to_string()));

        for elsewhere in [
            Owner {
                instance: "b".to_owned(),
                ..other.clone()
            },
            Owner {
                boot: "x".to_owned(),
                ..other.clone()
            },
            Owner {
                namespace: "1".to_owned(),
                ..other.clone()
            },
        ] {
            assert!(!me.has_outlived(&elsewhere.to_string()), "{elsewhere}");
        }
        let reused = Owner {
            start: "1".to_owned(),
            ..me.clone()
        };
        assert!(
            me.has_outlived(&reused.to_string()),
            "the number was given to another process"
        );
        assert!(!me.has_outlived("nonsense"));
    }
}
