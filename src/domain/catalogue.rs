//! The built-in catalogue of products that run as sidecars. [`table`] is its data; this module looks containers up.
//!
//! A container is looked up by its name, then by its image, then by the patterns of names: an injector or a chart gives its
//! sidecar a name of its own, while an image can also run as the app.

mod class;
mod table;

use std::{collections::HashMap, sync::LazyLock};

pub use self::class::Class;
use self::table::PRODUCTS;
use super::pattern::Repository;

/// A product, and how its containers are recognised.
#[derive(Debug)]
pub struct Product {
    /// The name of the product.
    pub title: &'static str,
    /// What it does for the app.
    pub class: Class,
    /// Names of its containers. A `*` in a name stands for any text.
    names: &'static [&'static str],
    /// The last parts of its image repositories, in any registry. A `*` in a part stands for any text
    /// without `/`.
    images: &'static [&'static str],
    /// Its names count only in a Pod that has another container whose name matches this one.
    beside: Option<&'static str>,
    /// The product can also be the app of a Pod.
    pub app: bool,
    /// It works after the main container has ended.
    pub outlives: bool,
    /// Its readiness includes that of the app.
    pub reflects_app: bool,
    /// It can also run once, as a plain init container.
    pub one_shot: bool,
}

impl Product {
    /// Whether it is no known product: only the container's name says that it is a sidecar.
    pub fn is_generic(&self) -> bool {
        self.names.contains(&SIDECAR)
    }
}

/// The product of a container in a Pod whose containers have the names `pod`.
pub fn find<'a>(
    name: &str,
    image: &Repository<'_>,
    pod: &(impl Iterator<Item = &'a str> + Clone),
) -> Option<&'static Product> {
    let has = |name: &'static str| pod.clone().any(|other| matches(name, other));
    let is_here = |product: &&'static Product| product.beside.is_none_or(has);
    let by_name = LOOKUP.named(name).find(is_here);
    let by_pattern = || {
        let mut patterns = LOOKUP.patterns.iter();
        let found = patterns.find(|(pattern, product)| matches(pattern, name) && is_here(product));
        found.map(|(_, product)| *product)
    };
    by_name.or_else(|| LOOKUP.with_image(image)).or_else(by_pattern)
}

/// The products by name and image. Containers are looked up often: in the decoder, in evaluations, and for the notes of Events.
static LOOKUP: LazyLock<Lookup> = LazyLock::new(Lookup::new);

/// All lists are in the order of the table: the first product that matches counts.
struct Lookup {
    names: HashMap<&'static str, Vec<&'static Product>>,
    /// The names with a `*`.
    patterns: Vec<(&'static str, &'static Product)>,
    /// The images by their last part.
    images: HashMap<&'static str, Vec<Image>>,
    /// The images with a `*` in their last part.
    image_patterns: Vec<Image>,
}

/// An image of a product, with the place of the product in the table.
#[derive(Clone, Copy)]
struct Image {
    place: usize,
    text: &'static str,
    product: &'static Product,
}

impl Lookup {
    fn new() -> Self {
        let mut lookup = Self {
            names: HashMap::new(),
            patterns: Vec::new(),
            images: HashMap::new(),
            image_patterns: Vec::new(),
        };
        for (place, product) in PRODUCTS.iter().enumerate() {
            for name in product.names {
                if name.contains('*') {
                    lookup.patterns.push((name, product));
                } else {
                    lookup.names.entry(name).or_default().push(product);
                }
            }
            for image in product.images {
                let last = image.rsplit('/').next().unwrap_or(image);
                let known = Image {
                    place,
                    text: image,
                    product,
                };
                if last.contains('*') {
                    lookup.image_patterns.push(known);
                } else {
                    lookup.images.entry(last).or_default().push(known);
                }
            }
        }
        lookup
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &'static Product> {
        self.names.get(name).into_iter().flatten().copied()
    }

    fn with_image(&self, image: &Repository<'_>) -> Option<&'static Product> {
        let last = image.full().rsplit('/').next().unwrap_or_default();
        let known = self.images.get(last).into_iter().flatten();
        let known = known.chain(&self.image_patterns);
        let found = known.filter(|known| ends_with(image, known.text));
        Some(found.min_by_key(|known| known.place)?.product)
    }
}

/// The product of a container, without the names that count only beside another container.
pub fn product(name: &str, image: &Repository<'_>) -> Option<&'static Product> {
    find(name, image, &std::iter::empty())
}

/// The class of the product of a container.
pub fn class(name: &str, image: &Repository<'_>) -> Option<Class> {
    product(name, image).map(|product| product.class)
}

/// Whether the readiness of the container includes that of the app.
pub fn reflects_app(name: &str, image: &Repository<'_>) -> bool {
    product(name, image).is_some_and(|product| product.reflects_app)
}

/// Whether it is a proxy between the app and the network: the app needs it as long as it runs.
pub fn is_ambassador(name: &str, image: &Repository<'_>) -> bool {
    class(name, image).is_some_and(Class::is_proxy)
}

/// Whether a plain init container has the name of a sidecar that never exits, so that `restartPolicy: Always` is missing.
/// The image does not decide: `istio-init` and `linkerd-network-validator` have the image of the proxy. Patterns of names
/// do not decide either: any author can call a step `copy-sidecar`.
pub fn is_misplaced_init(name: &str) -> bool {
    let mut products = LOOKUP.named(name);
    name != SIDECAR && products.any(|product| product.beside.is_none() && !product.one_shot)
}

/// The names and patterns of names that count in every Pod.
pub fn names() -> impl Iterator<Item = &'static str> {
    let products = PRODUCTS.iter().filter(|product| product.beside.is_none());
    products.flat_map(|product| product.names).copied()
}

/// The last parts of the image repositories of all products.
pub fn images() -> impl Iterator<Item = &'static str> {
    PRODUCTS.iter().flat_map(|product| product.images).copied()
}

/// The name that says nothing but that the container is a sidecar.
const SIDECAR: &str = "sidecar";

/// Whether a text matches `pattern`, in which a `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let Some((middle, _)) = rest.split_once('*') else {
        return text.ends_with(rest);
    };
    text.find(middle)
        .and_then(|at| text.get(at..))
        .is_some_and(|text| matches(rest, text))
}

/// Whether the last parts of a repository are those of `known`.
fn ends_with(image: &Repository<'_>, known: &str) -> bool {
    let mut parts = image.full().rsplit('/');
    known
        .rsplit('/')
        .all(|known| parts.next().is_some_and(|part| matches(known, part)))
}

#[cfg(test)]
mod tests;
