//! Which methods are reported.

use anyhow::Result;
use foldhash::HashMap;
use roam_dump::analysis::MethodGlob;
use roam_trace_common::event::MethodKey;
use roam_trace_common::limits;

use super::names::Names;
use crate::attach::Tracer;

/// Which methods are reported: those that match one of the patterns, or all without one.
#[derive(Debug)]
pub(crate) struct MethodFilter {
    patterns: Vec<MethodGlob>,
    decided: HashMap<(u32, u64), bool>,
}

impl MethodFilter {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_str().into())
                .collect(),
            decided: HashMap::default(),
        }
    }

    /// Returns whether it lets every method pass.
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether it lets a method pass. One without a name goes by the name that is shown instead.
    pub(crate) fn passes(&self, method_id: u64, name: Option<&str>) -> bool {
        let matches = |name: &str| self.patterns.iter().any(|pattern| pattern.matches(name));
        self.is_empty()
            || match name {
                Some(name) => matches(name),
                None => matches(&unnamed(method_id)),
            }
    }

    /// Tells the programs what it lets pass of the methods that are known.
    ///
    /// # Errors
    ///
    /// The kernel map cannot be written.
    pub(crate) fn decide_known(&mut self, tracer: &mut Tracer, names: &Names<'_>) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        for (tgid, method_id, name) in names.methods() {
            let passes = self.passes(method_id, Some(name));
            self.decide(tracer, (tgid, method_id), passes)?;
        }
        Ok(())
    }

    /// Returns whether it lets a method pass that the programs have reported, and tells them if they did not know.
    ///
    /// # Errors
    ///
    /// The kernel map cannot be written.
    pub(crate) fn decide_reported(
        &mut self,
        tracer: &mut Tracer,
        names: &mut Names<'_>,
        method: (u32, u64),
    ) -> Result<bool> {
        if self.is_empty() {
            return Ok(true);
        }
        if let Some(&passes) = self.decided.get(&method) {
            return Ok(passes);
        }
        let (tgid, method_id) = method;
        let name = names.method(tgid, method_id);
        let passes = self.passes(method_id, name.as_deref());
        // A process may register one later.
        if name.is_some() {
            self.decide(tracer, method, passes)?;
        }
        Ok(passes)
    }

    fn decide(
        &mut self,
        tracer: &mut Tracer,
        (tgid, method_id): (u32, u64),
        passes: bool,
    ) -> Result<()> {
        if self.decided.len() >= limits::FILTERED_METHODS as usize {
            return Ok(());
        }
        self.decided.insert((tgid, method_id), passes);
        let key = MethodKey {
            method_id,
            tgid,
            reserved: 0,
        };
        Ok(tracer.filter_method(key, passes)?)
    }
}

/// What is shown of a method without a name.
pub(crate) fn unnamed(method_id: u64) -> String {
    format!("method_id={method_id:#018x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], name: Option<&str>, expected: bool) {
        let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let filter = MethodFilter::new(&patterns);
        assert_eq!(
            filter.passes(0xbad, name),
            expected,
            "{patterns:?} {name:?}"
        );
    }

    #[test]
    fn a_method_passes_if_a_pattern_matches_all_of_its_name() {
        check(&[], Some("Http.get"), true);
        check(&[], None, true);
        check(&["Http.*"], Some("Http.get"), true);
        check(&["Http"], Some("Http.get"), false);
        check(&["*.put", "Http.ge?"], Some("Http.get"), true);
        check(&["*.put"], Some("Http.get"), false);
        check(&["method_id=*bad"], None, true);
        check(&["Http.*"], None, false);
    }
}
