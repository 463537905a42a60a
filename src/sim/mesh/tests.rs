//! How often a commit arrives, in each form in which devices may be connected.

use super::*;

/// Commits of all members in turn, some close together and some apart.
fn arrivals(mut mesh: Mesh, commits: usize) -> f64 {
    mesh.work(commits, 20);
    mesh.work(commits / 4, 300);
    mesh.run(5_000);

    assert!(mesh.is_agreed());
    assert_eq!(mesh.closed, Vec::<String>::new());
    let copies = mesh.copies_each();
    println!("{copies:.4} copies for each receiver of {} commits", mesh.commits);
    copies
}

#[test]
fn each_commit_comes_once_in_a_star() {
    let star = Mesh::connected(1, 8, (1..8).map(|leaf| (leaf, 0)));
    assert_eq!(arrivals(star, 100), 1.0);
}

#[test]
fn each_commit_comes_once_in_a_chain() {
    let chain = Mesh::connected(2, 8, (1..8).map(|next| (next - 1, next)));
    assert_eq!(arrivals(chain, 100), 1.0);
}

#[test]
fn each_commit_comes_hardly_more_than_once_in_a_full_mesh() {
    let copies = arrivals(Mesh::full(3, 8), 400);
    assert!((1.0..=1.1).contains(&copies), "{copies} copies");
}

#[test]
fn all_agree_after_connections_break_by_chance() {
    for seed in 0..2 {
        let mut mesh = Mesh::full(seed, 5);
        for _ in 0..12 {
            mesh.work(8, 60);
            let wires: Vec<ConnId> = mesh.wires.keys().copied().collect();
            let conn = wires[mesh.dice.below(wires.len() as u64) as usize];
            let (one, other) = mesh.wires[&conn];
            mesh.cut(conn);
            mesh.work(4, 60);
            mesh.connect(one, other);
        }
        mesh.run(2_000);

        assert!(mesh.is_agreed(), "seed {seed}");
        assert_eq!(mesh.closed, Vec::<String>::new());
        println!("{:.4} copies for each receiver, with breaks", mesh.copies_each());
    }
}

#[test]
fn what_a_device_said_last_before_it_was_lost_reaches_all_from_who_has_it() {
    let mut mesh = Mesh::full(1, 4);
    mesh.slow.extend([((0, 2), 60_000), ((0, 3), 60_000)]);
    mesh.commit(0);
    mesh.run(20);
    let origin = mesh.wires.iter().filter(|(_, (one, other))| *one == 0 || *other == 0);
    let origin: Vec<ConnId> = origin.map(|(conn, _)| *conn).collect();

    origin.into_iter().for_each(|conn| mesh.cut(conn));
    mesh.run(100);

    assert!(mesh.is_agreed(), "no regular check was due");
    assert_eq!(mesh.nodes.iter().map(|node| node.copies).collect::<Vec<_>>(), [0, 1, 1, 1]);
}

/// The others never fall silent, so no comparison of fingerprints finds what is missing.
#[test]
fn a_neighbour_that_does_not_deliver_delays_by_a_second() {
    let mut mesh = Mesh::full(2, 4);
    mesh.slow.insert((0, 2), 60_000);
    mesh.commit(0);
    let mut waited = 0;
    while !holds_first(&mesh, 2) {
        assert!(waited < 2_000, "{waited} ms");
        mesh.commit(1 + 2 * (waited as usize / 100 % 2));
        mesh.run(100);
        waited += 100;
    }

    let most = crate::limits::WITHHELD_MS * 2 + 200;
    assert!((crate::limits::WITHHELD_MS..=most).contains(&waited), "{waited} ms");
    assert_eq!(mesh.nodes[2].copies, mesh.commits, "one of the others sends it, not both");
}

#[test]
fn a_device_alone_with_another_names_no_neighbours() {
    let mut mesh = Mesh::connected(3, 2, [(0, 1)]);
    let before = mesh.sent;

    mesh.run(10_000);

    assert_eq!(mesh.sent, before);
    assert_eq!(mesh.nodes.iter().map(|node| node.metrics.commits_withheld.get()).sum::<u64>(), 0);
}

/// A list of neighbours beyond the limit would end the connection.
#[test]
fn of_too_many_neighbours_a_device_names_as_many_as_may_be_named() {
    let leaves = crate::limits::NEIGHBOURS_MAX + 2;
    let mut star = Mesh::connected(4, leaves as u8 + 1, (1..=leaves).map(|leaf| (leaf, 0)));

    star.commit(1);
    star.run(1_000);

    assert!(star.is_agreed());
    assert_eq!(star.closed, Vec::<String>::new());
    assert_eq!(star.copies_each(), 1.0);
}

fn holds_first(mesh: &Mesh, node: usize) -> bool {
    let first = EntityId::from_key("line", &1_u64.to_be_bytes());
    let row = mesh.nodes[node].replica.reader().row(&mesh.space, &lines(), &first);
    row.expect("reads").is_some()
}

/// A commit that was left to another to send is offered a second later. By then the peer may not be allowed to hear
/// of it any more.
#[test]
fn an_offer_names_nothing_that_the_peer_may_read_no_more() {
    let mut mesh = Mesh::full(1, 3);
    mesh.slow.insert((1, 2), 60_000);
    mesh.commit(1);
    mesh.run(30);
    mesh.heard = Some(Vec::new());
    let (space, admin, now) = (mesh.space, crate::access::Role::Admin, at(mesh.now_ms));
    mesh.nodes[0].replica.set_rule(now, space, &lines(), admin, admin).expect("an owner may");
    mesh.tell(0);
    mesh.run(10_000);

    let named = mesh.heard.take().expect("it was kept").into_iter().filter(|(from, to, bytes)| {
        let message = Message::from_frame(bytes).expect("it was sent");
        (*from, *to) == (0, 2)
            && !matches!(message, Some(Message::Statements(_)))
            && bytes.windows(5).any(|part| part == lines().as_str().as_bytes())
    });
    let named: Vec<_> = named.map(|(.., bytes)| Message::from_frame(&bytes)).collect();
    assert!(named.is_empty(), "{named:?}");
    assert_eq!(mesh.closed, Vec::<String>::new());
}

/// Of two that have the collection one is followed; when it goes, the other. A hub is asked in vain.
#[test]
fn an_index_is_followed_at_another_when_the_one_that_told_it_goes() {
    for with_hub in [false, true] {
        let mut mesh =
            if with_hub { Mesh::with_hub(5, 4) } else { Mesh::of(5, (0..4).map(Node::new).collect()) };
        let space = mesh.space;
        let interest = crate::id::Interest::Index;
        mesh.nodes[3].replica.set_interest(space, Some(lines()), interest).expect("few interests");
        mesh.tell(3);
        for (one, other) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
            mesh.connect(one, other);
        }
        mesh.work(10, 50);
        mesh.run(3_000);
        assert_eq!(listed(&mesh, 3, true), listed(&mesh, 1, false), "hub: {with_hub}");

        for _ in 0..2 {
            let wires = mesh.wires.iter().find(|(_, (one, other))| *one != 0 && *other == 3);
            let conn = *wires.expect("connected").0;
            let gone = mesh.wires[&conn].0;
            mesh.cut(conn);
            mesh.commit(gone);
            mesh.run(3_000);
            if mesh.wires.values().any(|(one, other)| *other == 3 && (*one != 0 || !with_hub)) {
                assert_eq!(listed(&mesh, 3, true), listed(&mesh, 1, false), "hub: {with_hub}");
            }
        }
        assert_eq!(mesh.closed, Vec::<String>::new());
        assert_eq!(mesh.nodes[3].copies, 0, "no document came");
    }
}

fn listed(mesh: &Mesh, node: usize, told: bool) -> Vec<crate::id::Listed> {
    let reader = mesh.nodes[node].replica.reader();
    let index = reader.index(&mesh.space, &lines(), told, None, usize::MAX).expect("reads");
    assert!(!index.is_empty(), "something was listed");
    index.into_iter().map(|entry| entry.listed).collect()
}
