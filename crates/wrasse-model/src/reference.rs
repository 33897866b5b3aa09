//! Model references: `provider/model`, or an alias of one.

use wrasse_config::Models;

/// A reference, split at its first slash: a model's id may have more of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) provider: String,
    pub(crate) model: String,
}

/// Resolves aliases and splits; on a fault says what could have been meant.
pub(crate) fn resolve(config: &Models, text: &str) -> Result<Reference, String> {
    let text = text.trim();
    let full = config.aliases.get(text).map_or(text, String::as_str);
    let Some((provider, model)) = full.split_once('/') else {
        return Err(format!(
            "\"{text}\" is neither provider/model nor an alias{}",
            known(config, text)
        ));
    };
    if provider.is_empty() || model.is_empty() {
        return Err(format!("\"{full}\" must have the form provider/model{}", known(config, text)));
    }
    if config.providers.iter().any(|known| known.id == provider) {
        return Ok(Reference { provider: provider.into(), model: model.into() });
    }
    Err(format!("no model provider \"{provider}\" is configured{}", known(config, text)))
}

/// The references that are known, the nearest one first.
fn known(config: &Models, wanted: &str) -> String {
    let mut names: Vec<String> = config.aliases.keys().cloned().collect();
    for provider in &config.providers {
        if provider.models.is_empty() {
            names.push(format!("{}/…", provider.id));
        }
        names.extend(provider.models.iter().map(|model| format!("{}/{}", provider.id, model.id)));
    }
    if names.is_empty() {
        return String::from(
            "; none is: add one under models.providers (the scripted provider needs no key and no network)",
        );
    }
    names.sort_by_cached_key(|name| distance(name, wanted));
    let more = names.len().saturating_sub(8);
    names.truncate(8);
    let nearest = names.first().filter(|name| distance(name, wanted) <= 1 + wanted.len() / 4);
    let hint = nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{hint}; configured: {}{tail}", names.join(", "))
}

/// The number of edits between two names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
