//! Completions that come from the kubeconfig and from the cluster: contexts, namespaces and Pods.
//!
//! A cluster that does not answer at once yields no completions and no error.

use std::{path::PathBuf, time::Duration};

use kube::config::Kubeconfig;
use tokio::time::timeout;

use crate::{
    cli::{args::ClusterArgs, block_on, cluster::Cluster},
    kubernetes::list,
};

/// The user waits for a completion.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The kind of object that the last word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Context,
    Namespace,
    Pod,
}

/// Returns the values of the last word that begin with it, or `None` if it is not of such a kind.
pub(super) fn values(words: &[&str]) -> Option<Vec<String>> {
    let (kind, prefix, typed) = wanted(words)?;
    let found = match kind {
        Kind::Context => contexts(value(words, &["--kubeconfig"])),
        Kind::Namespace | Kind::Pod => names(words, kind),
    };
    let matching = found.into_iter().filter(|name| name.starts_with(typed));
    Some(matching.map(|name| format!("{prefix}{name}")).collect())
}

/// Returns the kind of the last word, what precedes the value in the word, and the beginning of the value.
fn wanted<'a>(words: &[&'a str]) -> Option<(Kind, &'a str, &'a str)> {
    let (current, before) = words.split_last()?;
    let kind_of = |flag: &str| match flag {
        "--context" => Some(Kind::Context),
        "-n" | "--namespace" => Some(Kind::Namespace),
        _ => None,
    };
    if let Some((flag, typed)) = current.split_once('=')
        && let Some(kind) = kind_of(flag)
    {
        return Some((kind, current.get(..=flag.len())?, typed));
    }
    let (command, arguments) = before.split_first()?;
    if let Some(kind) = arguments.last().and_then(|flag| kind_of(flag)) {
        return Some((kind, "", current));
    }
    let (mut is_value, mut has_name) = (false, false);
    for word in arguments {
        if is_value {
            is_value = false;
        } else if word.starts_with('-') {
            is_value = VALUE_FLAGS.contains(word);
        } else {
            has_name = true;
        }
    }
    let is_pod = *command == "explain" && !is_value && !has_name && !current.starts_with('-');
    is_pod.then_some((Kind::Pod, "", *current))
}

/// The flags of `explain` that have a value.
const VALUE_FLAGS: [&str; 15] = [
    "-n",
    "--namespace",
    "--context",
    "--kubeconfig",
    "-l",
    "--selector",
    "-f",
    "--filename",
    "-p",
    "--policy",
    "-o",
    "--output",
    "--record",
    "--for",
    "--color",
];

/// Returns the value of a flag among the words.
fn value<'a>(words: &[&'a str], flags: &[&str]) -> Option<&'a str> {
    let separate = words.windows(2).find_map(|pair| match pair {
        [flag, value] if flags.contains(flag) => Some(*value),
        _ => None,
    });
    separate.or_else(|| {
        words.iter().find_map(|word| {
            let (flag, value) = word.split_once('=')?;
            flags.contains(&flag).then_some(value)
        })
    })
}

fn contexts(path: Option<&str>) -> Vec<String> {
    let config = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let contexts = config.map(|config| config.contexts).unwrap_or_default();
    contexts.into_iter().map(|context| context.name).collect()
}

fn names(words: &[&str], kind: Kind) -> Vec<String> {
    let args = ClusterArgs {
        kubeconfig: value(words, &["--kubeconfig"]).map(PathBuf::from),
        context: value(words, &["--context"]).map(str::to_owned),
        namespace: value(words, &["-n", "--namespace"])
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        ..ClusterArgs::default()
    };
    let listed = block_on(async {
        let cluster = Cluster::connect(&args)?;
        let client = cluster.client();
        let listed = match kind {
            Kind::Pod => timeout(TIMEOUT, list::pod_names(client, cluster.namespace())).await,
            Kind::Namespace | Kind::Context => timeout(TIMEOUT, list::namespace_names(client)).await,
        };
        Ok(listed??)
    });
    listed.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, prefix and typed part of what is completed.
    type Expected = Option<(Kind, &'static str, &'static str)>;

    #[test]
    fn the_words_decide_what_is_completed() {
        let table: [(&[&str], Expected); 13] = [
            (&["top", "-n", "sh"], Some((Kind::Namespace, "", "sh"))),
            (
                &["top", "--namespace=sh"],
                Some((Kind::Namespace, "--namespace=", "sh")),
            ),
            (&["top", "--context", ""], Some((Kind::Context, "", ""))),
            (&["top", ""], None),
            (&["top", "--by", ""], None),
            (&["explain", ""], Some((Kind::Pod, "", ""))),
            (&["explain", "-n", "shop", "we"], Some((Kind::Pod, "", "we"))),
            (
                &["explain", "--namespace=shop", "we"],
                Some((Kind::Pod, "", "we")),
            ),
            (&["explain", "-f", ""], None),
            (&["explain", "-"], None),
            (&["explain", "web-1", ""], None),
            (&["explain"], None),
            (&[], None),
        ];
        for (words, expected) in table {
            assert_eq!(wanted(words), expected, "{words:?}");
        }
    }

    #[test]
    fn the_value_of_a_flag_is_found() {
        assert_eq!(value(&["top", "--context", "a"], &["--context"]), Some("a"));
        assert_eq!(value(&["top", "--context=b", "-A"], &["--context"]), Some("b"));
        assert_eq!(value(&["top", "--context"], &["--context"]), None);
    }
}
