//! The configuration file of `sidewatch lint`.

use std::path::Path;

use serde::Deserialize;

use super::{FailOn, code, sources::Source};
use crate::{
    cli::{exit::Failure, files::read_text},
    domain::pattern::Pattern,
    lint::{field::Field, suppression::Ignore, workload::TemplatePath, yaml::Documents},
};

/// The file that is read without `--config`.
const DEFAULT: &str = ".sidewatch-lint.yaml";
/// Limit of its size, in megabytes.
const MAX_MEGABYTES: usize = 1;

/// The settings of the file.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub disable: Vec<&'static str>,
    pub fail_on: Option<FailOn>,
    pub template_paths: Vec<TemplatePath>,
    pub ignores: Vec<Ignore>,
    /// The file and its text.
    pub source: Option<(Source, String)>,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[derive(Default)]
struct Written {
    disable: Vec<String>,
    fail_on: Option<FailOn>,
    template_paths: Vec<String>,
    ignore: Vec<WrittenIgnore>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WrittenIgnore {
    code: String,
    reason: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    container: Option<String>,
}

impl Config {
    /// Reads the file at `path`, or the default file if it exists.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let default = Path::new(DEFAULT);
        let path = match path {
            Some(path) => path,
            None if default.exists() => default,
            None => return Ok(Self::default()),
        };
        let text = read_text(path, MAX_MEGABYTES)?;
        let config = Self::parse(&text)
            .map_err(|error| format!("{} is not a valid configuration: {error}", path.display()))?;
        Ok(Self {
            source: Some((Source::new(path), text)),
            ..config
        })
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let written: Option<Written> = serde_saphyr::from_str(text)?;
        let Written {
            disable,
            fail_on,
            template_paths,
            ignore,
        } = written.unwrap_or_default();
        let root = Documents::new(text).next().transpose()?.map(Field::root);
        let list = root.and_then(|root| root.get("ignore"));
        let places = list.iter().flat_map(Field::items).map(|item| item.location());
        Ok(Self {
            disable: disable
                .iter()
                .map(|text| code(text).map_err(|error| format!("disable: {text}: {error}")))
                .collect::<Result<_, _>>()?,
            fail_on,
            template_paths: template_paths
                .iter()
                .map(|path| path.parse())
                .collect::<Result<_, _>>()?,
            ignores: ignore
                .into_iter()
                .zip(places)
                .map(|(entry, location)| {
                    if entry.reason.trim().is_empty() {
                        return Err(format!("ignore: {}: reason is empty", entry.code));
                    }
                    let pattern = |text: Option<String>| {
                        text.map(|text| {
                            Pattern::parse(&text).map_err(|error| format!("ignore: {text}: {error}"))
                        })
                        .transpose()
                    };
                    Ok(Ignore {
                        code: code(&entry.code)
                            .map_err(|error| format!("ignore: {}: {error}", entry.code))?,
                        kind: entry.kind,
                        namespace: pattern(entry.namespace)?,
                        name: pattern(entry.name)?,
                        container: pattern(entry.container)?,
                        is_used: false,
                        location,
                    })
                })
                .collect::<Result<_, String>>()?,
            source: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let text = "disable: [SC014]\nfailOn: Error\ntemplatePaths: [Rollout=spec.template.spec]\nignore:\n- code: SC010\n  reason: sized by VPA\n  name: web-.*\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.disable, ["SC014"]);
        assert_eq!(config.fail_on, Some(FailOn::Error));
        assert_eq!(config.template_paths.len(), 1);
        assert_eq!(config.ignores[0].location.line, 5);
        assert!(Config::parse("# nothing\n").unwrap().ignores.is_empty());
    }

    #[test]
    fn an_invalid_configuration_is_refused() {
        let table = [
            ("disable: [SC999]", "no such rule"),
            ("disabled: [SC014]", "disabled"),
            ("ignore: [{code: SC010}]", "reason"),
            ("ignore: [{code: SC010, reason: ' '}]", "reason is empty"),
            ("ignore: [{code: SC010, reason: x, name: '('}]", "ignore: ("),
            ("templatePaths: [x]", "Kind=path"),
            ("failOn: Never", "Never"),
        ];
        for (text, expected) in table {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
