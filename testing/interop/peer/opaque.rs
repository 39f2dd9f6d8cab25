//! A method that the service macro cannot express: its response has no wire form.

use std::pin::Pin;

use facet::Facet;
use roam_session::{
    ChannelRegistry, Context, ServiceDispatcher, dispatch_call_infallible, dispatch_unknown_method,
};

/// Its id; generated ids are hashes and do not meet it.
pub const OPAQUE: u64 = 0x0bad_c0de;

#[derive(Facet)]
#[facet(opaque)]
struct Opaque(#[allow(dead_code)] *const u8);

// SAFETY: the pointer is never followed.
unsafe impl Send for Opaque {}

/// Answers [`OPAQUE`] with what cannot be serialized, and nothing else.
pub struct OpaqueDispatcher;

impl ServiceDispatcher for OpaqueDispatcher {
    fn method_ids(&self) -> Vec<u64> {
        vec![OPAQUE]
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        if cx.method_id().raw() != OPAQUE {
            return dispatch_unknown_method(cx, registry);
        }
        dispatch_call_infallible(cx, payload, registry, |(): ()| async {
            Opaque(std::ptr::null())
        })
    }
}
