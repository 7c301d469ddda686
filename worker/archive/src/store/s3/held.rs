//! A request that is sent but for its body, which waits for its turn.
//!
//! The head is signed and on its way before the wait, so that requests over many connections end
//! within the time of one write, however slowly they were made.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::store::Turn;

/// Holds back the body of the one request that it is given to.
pub(super) struct HoldBody(Mutex<Option<Turn>>);

impl HoldBody {
    pub(super) fn until(turn: Turn) -> Self {
        Self(Mutex::new(Some(turn)))
    }
}

impl std::fmt::Debug for HoldBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HoldBody")
    }
}

impl Intercept for HoldBody {
    fn name(&self) -> &'static str {
        "HoldBody"
    }

    // After the signature, which is over the whole body.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(turn) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let request = context.request_mut();
            let body = Held { turn: Mutex::new(Some(turn)), body: request.take_body() };
            *request.body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}

struct Held {
    /// None once it has come. The lock makes it `Sync` and is never taken.
    turn: Mutex<Option<Turn>>,
    body: SdkBody,
}

impl Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let turn = self.turn.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = turn {
            ready!(waiting.as_mut().poll(context));
            *turn = None;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}
