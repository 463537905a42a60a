//! A hub between devices that never meet each other.

use super::*;

/// What another program, or a hostile one, keeps in the same collection.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Odd {
    number: u64,
}

impl Entity for Odd {
    const COLLECTION: &'static str = Line::COLLECTION;
    const VERSION: u32 = 1;
}

fn star(seed: u64, count: u8) -> Mesh {
    let mut mesh = Mesh::with_hub(seed, count);
    (1..usize::from(count)).for_each(|leaf| mesh.connect(leaf, 0));
    mesh.run(2_000);
    mesh.nodes.iter_mut().for_each(|node| node.copies = 0);
    mesh
}

#[test]
fn a_hub_passes_on_what_it_never_looks_into() {
    let mut star = star(6, 5);

    star.work(60, 30);
    star.run(3_000);

    assert!(star.is_agreed());
    assert_eq!(star.closed, Vec::<String>::new());
    assert_eq!(star.copies_each(), 1.0);
    let hub = star.nodes[0].metrics.snapshot();
    assert_eq!((hub.documents_loaded, hub.document_applies), (0, 0));
    assert_eq!(hub.commits_remote, star.commits);
}

/// What a hub has not looked into is refused by all others alike, and they agree without it: with each other, and
/// with the hub by the commits that both have.
#[test]
fn what_a_hub_lets_pass_and_members_refuse_sets_nobody_apart() {
    let mut star = star(7, 5);
    star.work(10, 30);
    let odd = Arc::new(KindOf::<Odd>::new().expect("a name"));
    star.nodes[1].replica.register(odd).expect("rows that do not fit are left out");
    let entity = EntityId::from_key("odd", b"one");
    let write =
        Write { collection: lines(), entity, intent: Intent::Create, edit: insert(Odd { number: 7 }) };
    star.nodes[1].replica.commit(at(star.now_ms), star.space, vec![write]).expect("it fits there");
    star.tell(1);
    let line = Arc::new(KindOf::<Line>::new().expect("a name"));
    star.nodes[1].replica.register(line).expect("rows that do not fit are left out");
    star.writers.retain(|writer| *writer != 1);

    star.work(20, 30);
    star.run(10_000);

    let space = star.space;
    let roots: Vec<_> = star.nodes.iter_mut().map(|node| node.roots(space)).collect();
    assert_eq!((&roots[2], &roots[3]), (&roots[3], &roots[4]), "the members agree");
    assert_ne!(roots[0], roots[2], "the hub has what they refuse");
    let refused: Vec<u64> = star.nodes.iter().map(|node| node.metrics.commits_quarantined.get()).collect();
    assert_eq!(refused, [0, 0, 1, 1, 1]);
    let hub = star.nodes[0].peer;
    assert!((1..5).all(|leaf| star.in_sync.contains(&(leaf, hub))), "{:?}", star.in_sync);
    assert_eq!(star.closed, Vec::<String>::new());
    let sent = star.sent;
    star.run(45_000);
    assert_eq!(star.sent, sent, "nobody goes on comparing");
    assert_eq!(star.nodes[0].metrics.documents_loaded.get(), 0);
}
