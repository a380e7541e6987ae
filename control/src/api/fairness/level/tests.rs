use super::*;

const LONG: Duration = Duration::from_secs(60);
const QUEUING: Queuing = Queuing {
    queues: 1,
    hand: 1,
    length: 2,
};

fn level(limit: u64) -> Arc<Level> {
    Arc::new(Level::limited(Some(QUEUING), limit))
}

fn counts(level: &Level) -> (usize, usize) {
    let (Report { tally, .. }, _) = level.report();
    (tally.waiting, tally.executing)
}

#[tokio::test]
async fn a_seat_that_is_dropped_goes_to_who_waits() {
    let level = level(1);
    let first = level.enter(0, 1).unwrap();
    let mut second = level.enter(0, 1).unwrap();
    let waits = tokio::spawn(async move { (second.come(LONG).await, second) });
    tokio::task::yield_now().await;
    assert_eq!(counts(&level), (1, 1));
    drop(first);
    let (came, second) = waits.await.unwrap();
    assert!(came);
    assert_eq!(counts(&level), (0, 1));
    drop(second);
    assert_eq!(counts(&level), (0, 0));
}

#[tokio::test]
async fn who_waits_too_long_leaves_the_queue() {
    let level = level(1);
    let _first = level.enter(0, 1).unwrap();
    let mut second = level.enter(0, 1).unwrap();
    assert!(!second.come(Duration::from_millis(1)).await);
    drop(second);
    assert_eq!(counts(&level), (0, 1));
    assert_eq!(level.report().0.late, 1);
}

#[tokio::test]
async fn who_goes_away_leaves_the_queue() {
    let level = level(1);
    let first = level.enter(0, 1).unwrap();
    let mut second = level.enter(0, 1).unwrap();
    let waits = tokio::spawn(async move { second.come(LONG).await });
    tokio::task::yield_now().await;
    waits.abort();
    assert!(waits.await.unwrap_err().is_cancelled());
    assert_eq!(counts(&level), (0, 1));
    assert_eq!(level.report().0.gone, 1);
    // One who was called and never looked gives his seat back, too.
    let third = level.enter(0, 1).unwrap();
    drop(first);
    assert_eq!(counts(&level), (0, 1));
    drop(third);
    assert_eq!(counts(&level), (0, 0));
}

#[test]
fn a_panic_gives_its_seats_back() {
    let level = level(1);
    let turn = level.enter(0, 1).unwrap();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _turn = turn;
        panic!("as a handler might");
    }));
    assert!(unwound.is_err());
    assert_eq!(counts(&level), (0, 0));
}

#[test]
fn a_full_queue_refuses_and_an_exempt_level_never_does() {
    let level = level(1);
    let turns: Vec<_> = (0..3).map_while(|_| level.enter(0, 1)).collect();
    assert_eq!(turns.len(), 3);
    assert!(level.enter(0, 1).is_none());
    let exempt = Arc::new(Level::exempt());
    let turns: Vec<_> = (0..1000).map_while(|_| exempt.enter(0, 1)).collect();
    assert_eq!(turns.len(), 1000);
    assert_eq!(counts(&exempt), (0, 1000));
}
