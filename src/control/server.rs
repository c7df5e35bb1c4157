//! The daemon's end of the control socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::lab::Lab;
use super::protocol::{DoRequest, LabStatus, Outcome, Refusal, WaitRequest};
use crate::bgp::view::{PathView, SpeakerView};

type Answer<T> = Result<Json<T>, (StatusCode, Json<Refusal>)>;

/// Every request of the protocol, on `lab`.
pub(super) fn router(lab: Arc<Lab>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/speakers", get(speakers))
        .route("/v1/speakers/{node}", get(speaker))
        .route("/v1/speakers/{node}/paths", get(paths))
        .route("/v1/speakers/{node}/exported/{peer}", get(exported))
        .route("/v1/wait", post(wait))
        .route("/v1/do", post(change))
        .with_state(lab)
}

async fn status(State(lab): State<Arc<Lab>>) -> Json<LabStatus> {
    Json(lab.status().await)
}

async fn speakers(State(lab): State<Arc<Lab>>) -> Json<Vec<SpeakerView>> {
    lab.refresh().await;
    Json(lab.speakers().map(|(_, speaker)| speaker.view()).collect())
}

async fn speaker(State(lab): State<Arc<Lab>>, Path(node): Path<String>) -> Answer<SpeakerView> {
    let speaker = lab.speaker(&node).map_err(refusal)?;
    speaker.refresh().await;
    Ok(Json(speaker.view()))
}

async fn paths(State(lab): State<Arc<Lab>>, Path(node): Path<String>) -> Answer<Vec<PathView>> {
    lab.speaker(&node).and_then(|speaker| speaker.paths()).map(Json).map_err(refusal)
}

async fn exported(State(lab): State<Arc<Lab>>, Path((node, peer)): Path<(String, String)>) -> Answer<Vec<PathView>> {
    lab.exported(&node, &peer).map(Json).map_err(refusal)
}

async fn wait(State(lab): State<Arc<Lab>>, Json(request): Json<WaitRequest>) -> Json<Outcome> {
    Json(lab.wait_converged(Duration::from_millis(request.timeout_ms)).await)
}

async fn change(State(lab): State<Arc<Lab>>, Json(request): Json<DoRequest>) -> Answer<Outcome> {
    lab.change(&request.change).await.map_err(refusal)?;
    Ok(Json(lab.wait_converged(Duration::from_millis(request.timeout_ms)).await))
}

fn refusal(error: String) -> (StatusCode, Json<Refusal>) {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(Refusal { error }))
}
