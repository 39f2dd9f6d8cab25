//! What generated clients use: the trait of everything that can make a call, a
//! call as a value, and the decoding of responses.

use std::marker::PhantomData;
use std::pin::Pin;

use facet::Facet;
use roam_wire::Metadata;

use crate::{CallError, ConnectionHandle, DecodeError, ResponseData, RoamError, TransportError};

/// Decodes the payload of a response.
///
/// # Errors
///
/// Returns the error that the callee answered with, or the reason why the payload is not a result of these types.
pub fn decode_response<T: Facet<'static>, E: Facet<'static>>(
    payload: &[u8],
) -> Result<T, CallError<E>> {
    let (&kind, rest) = payload.split_first().ok_or(DecodeError::EmptyPayload)?;
    match kind {
        0 => facet_postcard::from_slice(rest).map_err(CallError::Decode),
        1 => {
            let (&code, rest) = rest.split_first().ok_or(DecodeError::TruncatedError)?;
            Err(CallError::Roam(match code {
                0 => RoamError::User(facet_postcard::from_slice(rest).map_err(CallError::Decode)?),
                1 => RoamError::UnknownMethod,
                2 => RoamError::InvalidPayload,
                3 => RoamError::Cancelled,
                other => return Err(DecodeError::UnknownRoamErrorDiscriminant(other).into()),
            }))
        }
        other => Err(DecodeError::InvalidResultDiscriminant(other).into()),
    }
}

/// Declares what differs between platforms: natively a call may move between threads, in a browser nothing
/// is `Send`.
macro_rules! calls {
    ($(#[$platform:meta])* [$($send:tt)*]) => {
        /// Calls methods. Implemented by [`ConnectionHandle`] and by clients that reconnect.
        $(#[$platform])*
        #[allow(async_fn_in_trait)]
        pub trait Caller: Clone + Send + Sync + 'static {
            /// Calls a method and waits for the response. Gives the channels in `args` their ids and binds them.
            ///
            /// # Errors
            ///
            /// Fails if `args` cannot be encoded, or if the connection closes before the response arrives.
            fn call<T: Facet<'static> + Send>(
                &self,
                method_id: u64,
                args: &mut T,
            ) -> impl Future<Output = Result<ResponseData, TransportError>> $($send)* {
                self.call_with_metadata(method_id, args, Metadata::default())
            }

            /// Calls a method as [`Self::call`] does, and sends `metadata` with the request.
            ///
            /// # Errors
            ///
            /// See [`Self::call`].
            fn call_with_metadata<T: Facet<'static> + Send>(
                &self,
                method_id: u64,
                args: &mut T,
                metadata: Metadata,
            ) -> impl Future<Output = Result<ResponseData, TransportError>> $($send)*;

            /// Binds the channels in a result. `channels` are their ids, as the response message lists them.
            fn bind_response_streams<T: Facet<'static>>(&self, response: &mut T, channels: &[u64]);
        }

        $(#[$platform])*
        impl<C, Args, Ok, Err> IntoFuture for CallFuture<C, Args, Ok, Err>
        where
            C: Caller,
            Args: Facet<'static> + Send + 'static,
            Ok: Facet<'static> + Send + 'static,
            Err: Facet<'static> + Send + 'static,
        {
            type Output = Result<Ok, CallError<Err>>;
            type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> $($send)*>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.run())
            }
        }
    };
}

calls!(#[cfg(not(target_arch = "wasm32"))] [+ Send]);
calls!(
    #[cfg(target_arch = "wasm32")]
    []
);

impl Caller for ConnectionHandle {
    async fn call_with_metadata<T: Facet<'static> + Send>(
        &self,
        method_id: u64,
        args: &mut T,
        metadata: Metadata,
    ) -> Result<ResponseData, TransportError> {
        Self::call_with_metadata(self, method_id, args, metadata).await
    }

    fn bind_response_streams<T: Facet<'static>>(&self, response: &mut T, channels: &[u64]) {
        Self::bind_response_streams(self, response, channels);
    }
}

/// Makes a call when it is awaited.
pub struct CallFuture<C, Args, Ok, Err>
where
    C: Caller,
    Args: Facet<'static>,
{
    caller: C,
    method_id: u64,
    args: Args,
    metadata: Metadata,
    _result: PhantomData<fn() -> (Ok, Err)>,
}

impl<C, Args, Ok, Err> CallFuture<C, Args, Ok, Err>
where
    C: Caller,
    Args: Facet<'static>,
{
    /// Creates a call without metadata.
    pub fn new(caller: C, method_id: u64, args: Args) -> Self {
        Self {
            caller,
            method_id,
            args,
            metadata: Metadata::default(),
            _result: PhantomData,
        }
    }

    /// Sets the key-value pairs that are sent with the request.
    pub fn with_metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    async fn run(mut self) -> Result<Ok, CallError<Err>>
    where
        Args: Send,
        Ok: Facet<'static>,
        Err: Facet<'static>,
    {
        let call = self
            .caller
            .call_with_metadata(self.method_id, &mut self.args, self.metadata);
        let response = call.await?;
        let mut result = decode_response::<Ok, Err>(&response.payload)?;
        self.caller
            .bind_response_streams(&mut result, &response.channels);
        Result::Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &[u8], expected: &str) {
        let result = decode_response::<u32, String>(payload);
        assert_eq!(format!("{result:?}"), expected);
    }

    #[test]
    fn responses_decode_to_results() {
        check(&[0, 7], "Ok(7)");
        check(&[1, 0, 2, b'n', b'o'], r#"Err(Roam(User("no")))"#);
        check(&[1, 1], "Err(Roam(UnknownMethod))");
        check(&[1, 2], "Err(Roam(InvalidPayload))");
        check(&[1, 3], "Err(Roam(Cancelled))");
        check(&[], "Err(Protocol(EmptyPayload))");
        check(&[1], "Err(Protocol(TruncatedError))");
        check(&[1, 9], "Err(Protocol(UnknownRoamErrorDiscriminant(9)))");
        check(&[2], "Err(Protocol(InvalidResultDiscriminant(2)))");
        assert!(decode_response::<u32, String>(&[0]).is_err());
    }
}
