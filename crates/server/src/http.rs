//! What is asked without gRPC: health, metrics, version.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures::future::try_join;
use serde_json::json;

use crate::etcd_version::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use crate::exposition;
use crate::groups::Groups;
use crate::health;
use crate::sample::metrics_text;

/// The plain paths, and an answer for every other.
pub(crate) fn router(groups: Arc<Groups>) -> Router {
    Router::new()
        .route("/health", get(healthy))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .fallback(unknown)
        .with_state(groups)
}

/// etcd's form: healthy if a linearizable read succeeds and no replica contradicts another, or for `?serializable=true` if a local one does.
async fn healthy(State(groups): State<Arc<Groups>>, RawQuery(query): RawQuery) -> Response {
    let serializable = query.is_some_and(|query| query.split('&').any(|part| part == "serializable=true"));
    let checked =
        if serializable { health::readable(groups.metadata()).await } else { health::healthy(&groups).await };
    match checked {
        Ok(()) => Json(json!({ "health": "true" })).into_response(),
        Err(reason) => {
            let body = json!({ "health": "false", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// Alive: the node works, with or without a quorum. A restart would help if not.
async fn live(State(groups): State<Arc<Groups>>) -> Response {
    plain_answer(health::live(groups.metadata()).await)
}

/// Ready: a linearizable read succeeds.
async fn ready(State(groups): State<Arc<Groups>>) -> Response {
    plain_answer(health::ready(groups.metadata()).await)
}

fn plain_answer(checked: Result<(), String>) -> Response {
    match checked {
        Ok(()) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Plain text of Prometheus, or `OpenMetrics` if that is asked for.
async fn metrics(State(groups): State<Arc<Groups>>, headers: HeaderMap) -> Response {
    let context = groups.metadata();
    let (status, version) = match try_join(context.handle.status(), context.handle.published()).await {
        Ok(sampled) => sampled,
        Err(error) => return plain_answer(Err(error.to_string())),
    };
    let mut others = Vec::new();
    for group in &status.other_groups {
        let Some(context) = groups.by_name(&group.name) else { continue };
        match context.handle.published().await {
            Ok(version) => others.push((group, version)),
            Err(error) => return plain_answer(Err(error.to_string())),
        }
    }
    let mut accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_newer = accept.any(exposition::asks_for_open_metrics);
    match metrics_text(&groups.metrics, context, &status, &version.view, &others) {
        Ok(text) if is_newer => ([(header::CONTENT_TYPE, exposition::OPEN_METRICS)], text).into_response(),
        Ok(text) => ([(header::CONTENT_TYPE, exposition::PLAIN)], exposition::plain(&text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Clients of etcd parse the first two; the third is this program's own.
async fn version() -> Json<serde_json::Value> {
    Json(json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": ETCD_CLUSTER_VERSION,
        "ruvector": env!("CARGO_PKG_VERSION"),
    }))
}

/// A gRPC client that calls a service which is not offered is told so in its own way.
async fn unknown(request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let service = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let status = tonic::Status::unimplemented(format!("unknown service {service}"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    match status.add_header(&mut headers) {
        Ok(()) => (headers, ()).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
