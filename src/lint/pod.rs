//! A Pod template as the rules read it.

use std::collections::BTreeSet;

use super::{
    field::Field,
    object::Object,
    shell::Program,
    workload::{Workload, unnamed_container},
};
use crate::{
    domain::{
        catalogue::{self, Class, Product},
        observation::{AppNames, ContainerKind, DEFAULT_CONTAINER},
        pattern::Repository,
        policy::Policy,
        roles::{Role, Roles},
    },
    kubernetes::decode::pod::decode_shape,
};

/// A Pod template.
#[derive(Debug)]
pub struct Pod<'t> {
    /// The object that has it.
    pub object: Object,
    /// The annotations of the object and of the template.
    pub annotations: Vec<Field<'t>>,
    /// The Pod spec.
    pub spec: Field<'t>,
    /// The init containers in their order, then the regular containers.
    pub containers: Vec<Container<'t>>,
    /// A kustomization in the same directory can set the tags of images.
    pub is_kustomized: bool,
    /// It uses a ConfigMap of the same text with a script that ends sidecars.
    pub ends_with_script: bool,
}

/// A container of a Pod template.
#[derive(Debug)]
pub struct Container<'t> {
    /// The entry of the list.
    pub field: Field<'t>,
    /// The name, or the place of a container without one.
    pub name: String,
    /// The image; may be empty.
    pub image: String,
    /// The kind.
    pub kind: ContainerKind,
    /// The role under a policy with all defaults.
    pub role: Role,
}

/// A declared port.
#[derive(Debug)]
pub struct Port<'t> {
    /// `containerPort`
    pub number: u16,
    /// `protocol`
    pub protocol: String,
    /// `name`; may be empty.
    pub name: String,
    /// `containerPort`
    pub field: Field<'t>,
}

impl<'t> Pod<'t> {
    /// Reads the Pod template of a workload. The policy assigns the roles.
    pub fn new(workload: Workload<'t>, policy: &Policy) -> Self {
        let Workload {
            object,
            annotations,
            app,
            spec,
            is_knative,
        } = workload;
        let default_container = annotations
            .iter()
            .rev()
            .find_map(|annotations| annotations.text_of(DEFAULT_CONTAINER));
        let names = AppNames {
            default_container: default_container.as_deref(),
            workload: Some((&object.kind, &object.name)),
            label: app.as_deref(),
        };
        let list = |name: &str| -> Vec<Field<'t>> {
            let list = spec.get(name);
            let items = list.iter().flat_map(Field::items);
            items.filter(Field::is_mapping).collect()
        };
        let (init, regular) = (list("initContainers"), list("containers"));
        let text = |field: &Field<'t>, name: &str| field.text_of(name).unwrap_or_default();
        let decoded = |list: &str, fields: &[Field<'t>]| {
            let containers = fields.iter().enumerate().map(|(i, field)| {
                let name = Some(text(field, "name")).filter(|name| !name.is_empty());
                serde_json::json!({
                    "name": name.unwrap_or_else(|| unnamed_container(list, i, is_knative)),
                    "image": text(field, "image"),
                    "restartPolicy": text(field, "restartPolicy"),
                })
            });
            containers.collect::<serde_json::Value>()
        };
        let decoded = serde_json::json!({
            "restartPolicy": text(&spec, "restartPolicy"),
            "initContainers": decoded("initContainers", &init),
            "containers": decoded("containers", &regular),
        });
        let shape = decode_shape(decoded, &names);
        let roles = Roles::assign(policy, &shape);
        let containers = init
            .into_iter()
            .chain(regular)
            .zip(&shape.containers)
            .enumerate()
            .map(|(i, (field, decoded))| Container {
                name: decoded.name.to_string(),
                // The text as it is written: decoding replaces the characters of placeholders.
                image: text(&field, "image"),
                field,
                kind: decoded.kind,
                role: roles.of(i),
            })
            .collect();
        Self {
            object,
            annotations,
            spec,
            containers,
            is_kustomized: false,
            ends_with_script: false,
        }
    }

    /// Whether a volume or a variable comes from one of these ConfigMaps.
    pub fn uses_config_map(&self, names: &BTreeSet<String>) -> bool {
        if names.is_empty() {
            return false;
        }
        let volumes = self.spec.get("volumes");
        let volumes = volumes.iter().flat_map(Field::items);
        let mut mounted = volumes.flat_map(|volume| {
            let projected = volume.at(&["projected", "sources"]);
            let sources: Vec<_> = projected.iter().flat_map(Field::items).chain([volume]).collect();
            sources
                .into_iter()
                .filter_map(|source| source.at(&["configMap", "name"]))
        });
        mounted.any(|name| name.text().is_some_and(|name| names.contains(name)))
    }

    /// The sidecars.
    pub fn sidecars(&self) -> impl Iterator<Item = &Container<'t>> {
        self.containers.iter().filter(|c| c.is_sidecar())
    }

    /// The main containers.
    pub fn mains(&self) -> impl Iterator<Item = &Container<'t>> {
        self.containers.iter().filter(|c| c.role == Role::Main)
    }

    /// Whether it is the template of a Job.
    pub fn is_job(&self) -> bool {
        matches!(self.object.kind.as_str(), "Job" | "CronJob")
    }

    /// Whether `restartPolicy` is `Never` or `OnFailure`.
    pub fn ends(&self) -> bool {
        matches!(
            self.spec.text_of("restartPolicy").as_deref(),
            Some("Never" | "OnFailure")
        )
    }

    /// `terminationGracePeriodSeconds`, or its default.
    pub fn grace_period(&self) -> u64 {
        let field = self.spec.get("terminationGracePeriodSeconds");
        let seconds = field.and_then(|field| field.number());
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(30)
    }
}

impl<'t> Container<'t> {
    /// Whether its role is sidecar.
    pub fn is_sidecar(&self) -> bool {
        self.role == Role::Sidecar
    }

    /// Whether it is a sidecar in `spec.containers`.
    pub fn is_classic_sidecar(&self) -> bool {
        self.is_sidecar() && self.kind == ContainerKind::Regular
    }

    /// Whether the manifest has only a part of the container: a patch without an image, or an injected container
    /// (`image: auto`). Another tool completes it, so nothing is known about the container that runs.
    pub fn is_stub(&self) -> bool {
        matches!(self.image.as_str(), "" | "auto")
    }

    /// Whether a tool replaces the image before the object is written: `${IMAGE}`, `$(IMAGE)` or `<IMAGE>`.
    pub fn has_placeholder_image(&self) -> bool {
        ["${", "$(", "{{", "<"]
            .iter()
            .any(|begin| self.image.contains(begin))
    }

    /// Whether it runs as long as the Pod.
    pub fn is_long_running(&self) -> bool {
        self.kind != ContainerKind::Init
    }

    /// The place of findings about the whole container.
    pub fn title(&self) -> Field<'t> {
        self.field.get("name").unwrap_or_else(|| self.field.clone())
    }

    /// The product of the catalogue.
    pub fn product(&self) -> Option<&'static Product> {
        catalogue::product(&self.name, &Repository::of(&self.image)).filter(|product| !product.is_generic())
    }

    /// The class of the product.
    pub fn class(&self) -> Option<Class> {
        self.product().map(|product| product.class)
    }

    /// Whether the catalogue has it as a proxy between the app and the network.
    pub fn is_ambassador(&self) -> bool {
        catalogue::is_ambassador(&self.name, &Repository::of(&self.image))
    }

    /// Whether it is a helper of a CSI driver.
    pub fn is_csi_helper(&self) -> bool {
        self.class() == Some(Class::CsiHelper)
    }

    /// The declared ports.
    pub fn ports(&self) -> Vec<Port<'t>> {
        let ports = self.field.get("ports");
        ports
            .iter()
            .flat_map(Field::items)
            .filter_map(|port| {
                let field = port.get("containerPort")?;
                Some(Port {
                    number: field.number()?.try_into().ok()?,
                    protocol: port.text_of("protocol").unwrap_or_else(|| "TCP".to_owned()),
                    name: port.text_of("name").unwrap_or_default(),
                    field,
                })
            })
            .collect()
    }

    /// The words of `command` and `args`.
    pub fn words(&self) -> Vec<String> {
        let texts = |name: &str| self.field.get(name).map(|list| list.texts()).unwrap_or_default();
        let mut words = texts("command");
        words.extend(texts("args"));
        words
    }

    /// `command` and `args`.
    pub fn program(&self) -> Program {
        Program::new(&self.words())
    }

    /// The field with the end of the command: `args`, or else `command`, or else the container.
    pub fn program_field(&self) -> Field<'t> {
        let get = |name: &str| self.field.get(name);
        get("args")
            .or_else(|| get("command"))
            .unwrap_or_else(|| self.title())
    }
}
