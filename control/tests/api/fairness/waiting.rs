//! Who waits on a level of one seat, for how long, and what becomes of him.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_user_starves_no_other() {
    let (control, anna, bert) = shop(&queue(64, 2, 20)).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    // More than her two queues hold.
    let flood: Vec<_> = (0..60).map(|_| later(&anna, MAPS)).collect();
    counts(&control, "shop", 1, 40).await;
    let others: Vec<_> = (0..5).map(|_| later(&bert, MAPS)).collect();
    counts(&control, "shop", 1, 45).await;
    assert_eq!(holder.release().await, 201);
    for other in others {
        other.await.unwrap().expect(200);
    }
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    for one in flood {
        *codes.entry(one.await.unwrap().code).or_default() += 1;
    }
    assert_eq!(codes, [(200, 40), (429, 20)].into());
    counts(&control, "shop", 0, 0).await;
}

#[tokio::test]
async fn a_full_queue_is_429_and_says_when_to_try_again() {
    for (response, waiting) in [(json!({"type": "Reject"}), 0), (queue(1, 1, 1), 1)] {
        let (control, anna, bert) = shop(&response).await;
        let holder = Slow::start(&control, "anna", "").await;
        counts(&control, "shop", 1, 0).await;
        let waits: Vec<_> = (0..waiting).map(|_| later(&anna, MAPS)).collect();
        counts(&control, "shop", 1, waiting).await;
        for client in [&anna, &bert] {
            let refused = get(client, MAPS).await;
            let after = refused.headers["retry-after"].to_str().unwrap().to_owned();
            assert!((1..=32).contains(&after.parse::<u32>().unwrap()), "{after}");
            assert!(refused.headers.contains_key(LEVEL));
            assert_eq!(
                refused.body["details"]["retryAfterSeconds"].to_string(),
                after
            );
            let why = refused.refused(429, "TooManyRequests");
            assert_eq!(why, "Too many requests, please try again later.");
        }
        // Administrators are served all the same, and so are other levels.
        control.get(MAPS).await.expect(200);
        let other = control.client_as("carl").await;
        get(&other, MAPS).await.expect(200);
        assert_eq!(holder.release().await, 201);
        for one in waits {
            one.await.unwrap().expect(200);
        }
    }
}

#[tokio::test]
async fn who_waits_a_quarter_of_his_time_is_refused() {
    let (control, _, bert) = shop(&queue(8, 1, 5)).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    let patient = later(&bert, MAPS);
    counts(&control, "shop", 1, 1).await;
    let hasty = get(&bert, &format!("{MAPS}?timeout=400ms")).await;
    hasty.refused(429, "TooManyRequests");
    let figures = figures(&control, "shop").await;
    assert_eq!(figures["TimedoutRequests"], "1");
    counts(&control, "shop", 1, 1).await;
    let wrong = get(&bert, &format!("{MAPS}?timeout=soon")).await;
    let why = wrong.refused(400, "BadRequest");
    assert!(why.contains("invalid timeout"), "{why}");
    assert_eq!(holder.release().await, 201);
    patient.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_gives_its_seat_back() {
    let (control, _, bert) = shop(&queue(8, 1, 5)).await;
    let mut slow = Slow::start(&control, "anna", "?timeout=500ms").await;
    assert_eq!(slow.code().await, 504);
    get(&bert, MAPS).await.expect(200);
    counts(&control, "shop", 0, 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let (control, _, bert) = shop(&queue(8, 1, 5)).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    let gone = later(&bert, MAPS);
    counts(&control, "shop", 1, 1).await;
    gone.abort();
    counts(&control, "shop", 1, 0).await;
    assert_eq!(figures(&control, "shop").await["CancelledRequests"], "1");
    // So does one that holds a seat.
    drop(holder);
    counts(&control, "shop", 0, 0).await;
    get(&bert, MAPS).await.expect(200);
}

#[tokio::test]
async fn a_watch_takes_a_seat_until_it_has_begun() {
    let (control, anna, bert) = shop(&queue(8, 1, 5)).await;
    let mut watches = Vec::new();
    for client in [&anna, &bert, &anna] {
        let request = Request::get(format!("{MAPS}?watch=1")).body(Body::empty());
        let reply = client.send(request.unwrap()).await.unwrap();
        assert_eq!(reply.status(), 200);
        watches.push(reply);
    }
    counts(&control, "shop", 0, 0).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    let (client, path) = (bert.clone(), format!("{MAPS}?watch=1&timeoutSeconds=1"));
    let waits = later(&client, &path);
    counts(&control, "shop", 1, 1).await;
    assert_eq!(holder.release().await, 201);
    assert_eq!(waits.await.unwrap().code, 200);
    drop(watches);
}

#[tokio::test]
async fn seats_follow_a_changed_level() {
    let (control, _, bert) = shop(&queue(8, 1, 5)).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    let waits = later(&bert, MAPS);
    counts(&control, "shop", 1, 1).await;
    let more = json!({"spec": {"limited": {"nominalConcurrencyShares": 3}}});
    control
        .patch(&levels("shop"), MERGE_PATCH, &more)
        .await
        .expect(200);
    waits.await.unwrap().expect(200);
    assert_eq!(figures(&control, "shop").await["CurrentLimitSeats"], "3");
    // A level that is deleted loses nobody.
    control
        .delete(&levels("shop"), &Value::Null)
        .await
        .expect(200);
    belongs(&control, &bert, "global-default", "global-default").await;
    assert_eq!(holder.release().await, 201);
}
