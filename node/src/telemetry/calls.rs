//! What became of calls, and how long they took: by service, method and code of gRPC. All three come from closed sets: a method that is not
//! in the schema is counted as `other`.

use super::samples::{Kind, Sample, histogram};
use super::trace::Trace;
use engine::stats::Counter;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Span;
use tracing::field::Empty;

/// Codes of gRPC, by number.
pub const CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];
/// The code of a call that nobody waited for.
pub const CANCELLED: usize = 1;
/// The code of one that says none which is known.
const UNKNOWN: usize = 2;
/// Up to how many milliseconds a call has taken is counted: an answer from memory, a sync or two, an election, and the longest that waits.
pub const LATENCY_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000, 30_000];
/// Counts of how long calls took: one for each of these, and one for those that took longer.
pub const TOOK: usize = LATENCY_MS.len() + 1;
/// The service whose calls are those of clients in the foreground.
const FOREGROUND: &str = "dewpond.v1.Kv";
/// Services that are in no schema of ours.
const STANDARD: [(&str, &str); 3] = [
    ("grpc.health.v1.Health", "Check"),
    ("grpc.health.v1.Health", "Watch"),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
];

/// The calls of one method.
#[derive(Debug)]
pub struct Method {
    service: String,
    name: String,
    answered: [Counter; CODES.len()],
    took: [Counter; LATENCY_MS.len()],
    took_ms: Counter,
    under_way: AtomicU64,
    /// It is asked once and answered once: how long it takes says how well clients are served.
    is_plain: bool,
}

/// The calls of all methods.
#[derive(Debug)]
pub struct Calls {
    by_path: BTreeMap<String, Arc<Method>>,
    other: Arc<Method>,
}

/// A call that is under way. Whoever drops it before it is answered has gone.
#[derive(Debug)]
pub struct UnderWay {
    method: Arc<Method>,
    began_ms: u64,
    is_counted: bool,
    span: Span,
}

impl Method {
    fn new(service: &str, name: &str, is_plain: bool) -> Arc<Self> {
        Arc::new(Self {
            service: service.to_owned(),
            name: name.to_owned(),
            answered: Default::default(),
            took: Default::default(),
            took_ms: Counter::default(),
            under_way: AtomicU64::new(0),
            is_plain,
        })
    }

    fn count(&self, code: usize, took_ms: u64) {
        self.answered[if code < CODES.len() { code } else { UNKNOWN }].add(1);
        self.took_ms.add(took_ms);
        if let Some(at) = LATENCY_MS.iter().position(|most| took_ms <= *most) {
            self.took[at].add(1);
        }
    }

    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![("service", self.service.clone()), ("method", self.name.clone())]
    }

    /// Nothing of a method that nobody has called.
    fn samples(&self, out: &mut Vec<Sample>) {
        let answered: Vec<u64> = self.answered.iter().map(Counter::read).collect();
        let all: u64 = answered.iter().sum();
        let under_way = self.under_way.load(Ordering::Relaxed);
        if all == 0 && under_way == 0 {
            return;
        }
        for (code, count) in CODES.iter().zip(&answered).filter(|(_, count)| **count > 0) {
            let mut labels = self.labels();
            labels.push(("code", (*code).to_owned()));
            out.push(Sample::new("dewpond_call_answered_calls", Kind::Counter, *count).with(labels));
        }
        let steps = LATENCY_MS.into_iter().zip(self.took.iter().map(Counter::read));
        out.extend(histogram("dewpond_call_took_ms", &self.labels(), steps, (all, self.took_ms.read())));
        out.push(Sample::new("dewpond_call_open_streams", Kind::Gauge, under_way).with(self.labels()));
    }
}

/// Every method of the schema, and those of the services that every server has.
fn methods() -> Vec<(String, String, bool)> {
    let schema =
        FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).expect("the schema was built in whole");
    let standard = STANDARD.iter().map(|(service, name)| ((*service).to_owned(), (*name).to_owned(), false));
    let mut out: Vec<(String, String, bool)> = standard.collect();
    for file in &schema.file {
        for service in &file.service {
            let of = format!("{}.{}", file.package(), service.name());
            let plain = |method: &prost_types::MethodDescriptorProto| {
                !method.client_streaming() && !method.server_streaming()
            };
            let each = service.method.iter();
            out.extend(each.map(|method| (of.clone(), method.name().to_owned(), plain(method))));
        }
    }
    out
}

impl Default for Calls {
    fn default() -> Self {
        let methods = methods().into_iter();
        let by_path = methods.map(|(service, name, is_plain)| {
            (format!("/{service}/{name}"), Method::new(&service, &name, is_plain))
        });
        Self { by_path: by_path.collect(), other: Method::new("other", "other", false) }
    }
}

impl Calls {
    /// A call of `path`, `/package.Service/Method`, begins.
    #[must_use]
    pub fn begin(&self, path: &str, now_ms: u64) -> UnderWay {
        let method = self.by_path.get(path).unwrap_or(&self.other).clone();
        method.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay { method, began_ms: now_ms, is_counted: false, span: Span::none() }
    }

    /// Paths of all methods that are counted by name.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.by_path.keys().map(String::as_str)
    }

    /// How long calls of clients for data took so far, and how many are under way; streams are left out.
    #[must_use]
    pub fn foreground(&self) -> ([u64; TOOK], u64) {
        let (mut took, mut under_way) = ([0; TOOK], 0);
        for method in self.by_path.values().filter(|method| method.is_plain && method.service == FOREGROUND) {
            for (sum, count) in took.iter_mut().zip(&method.took) {
                *sum += count.read();
            }
            let counted: u64 = method.took.iter().map(Counter::read).sum();
            let answered: u64 = method.answered.iter().map(Counter::read).sum();
            took[LATENCY_MS.len()] += answered.saturating_sub(counted);
            under_way += method.under_way.load(Ordering::Relaxed);
        }
        (took, under_way)
    }

    /// The figures of all methods that were called.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut out = Vec::new();
        self.by_path.values().chain([&self.other]).for_each(|method| method.samples(&mut out));
        out
    }
}

impl UnderWay {
    /// Gives it a span in the log, under the name of its request. It is in no other: whoever asks for many things on one stream asks for each.
    #[must_use]
    pub fn named(mut self, trace: Trace) -> Self {
        let Method { service, name, .. } = &*self.method;
        let (service, method) = (service.as_str(), name.as_str());
        self.span = tracing::debug_span!(parent: None, "request", %trace, service, method, tenant = Empty, code = Empty);
        self
    }

    /// Its span.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// It was answered with this code of gRPC. Only the first answer counts.
    pub fn answered(&mut self, code: usize, now_ms: u64) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.span.record("code", CODES.get(code).copied().unwrap_or(CODES[UNKNOWN]));
            self.method.count(code, now_ms.saturating_sub(self.began_ms));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_counted {
            self.method.answered[CANCELLED].add(1);
        }
        self.method.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::action::Action;

    #[test]
    fn what_can_be_called_is_what_is_counted_by_name() {
        let calls = Calls::default();
        assert!(calls.by_path.len() >= 34, "{:?}", calls.by_path.keys());
        for path in calls.by_path.keys() {
            assert!(!Action::of_path(path).is_empty(), "{path} is not in the policy");
        }
        assert_eq!(calls.samples(), [], "nobody has called");
    }

    #[test]
    fn a_call_is_counted_once_by_what_became_of_it() {
        let calls = Calls::default();
        let mut put = calls.begin("/dewpond.v1.Kv/Put", 100);
        put.answered(0, 104);
        put.answered(14, 900);
        drop(put);
        calls.begin("/dewpond.v1.Kv/Put", 0).answered(99, 60_000);
        drop(calls.begin("/dewpond.v1.Kv/\u{7}'\"", 0));
        let _open = calls.begin("/dewpond.v1.Kv/Stream", 0);
        let get = calls.begin("/dewpond.v1.Kv/Get", 0);
        let (took, under_way) = calls.foreground();
        assert_eq!((took[2], took[TOOK - 1], took.iter().sum::<u64>()), (1, 1, 2), "4 ms and a minute");
        assert_eq!(under_way, 1, "and no stream");
        drop(get);
        let samples = calls.samples();
        let of = |name: &str, labels: &[&str]| {
            let fits = |sample: &&Sample| {
                let said: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
                sample.series() == name && said == labels
            };
            samples.iter().find(fits).map(|sample| sample.value)
        };
        let kv = "dewpond.v1.Kv";
        assert_eq!(of("dewpond_call_answered_calls", &[kv, "Put", "ok"]), Some(1));
        assert_eq!(of("dewpond_call_answered_calls", &[kv, "Put", "unknown"]), Some(1));
        assert_eq!(of("dewpond_call_answered_calls", &["other", "other", "cancelled"]), Some(1));
        assert_eq!(of("dewpond_call_took_ms_bucket", &[kv, "Put", "2"]), Some(0));
        assert_eq!(of("dewpond_call_took_ms_bucket", &[kv, "Put", "5"]), Some(1));
        assert_eq!(of("dewpond_call_took_ms_bucket", &[kv, "Put", "30000"]), Some(1));
        assert_eq!(of("dewpond_call_took_ms_bucket", &[kv, "Put", "+Inf"]), Some(2));
        assert_eq!(of("dewpond_call_took_ms_sum", &[kv, "Put"]), Some(60_004));
        assert_eq!(of("dewpond_call_took_ms_count", &[kv, "Put"]), Some(2));
        assert_eq!(of("dewpond_call_open_streams", &[kv, "Stream"]), Some(1));
        assert_eq!(of("dewpond_call_open_streams", &[kv, "Put"]), Some(0));
    }
}
