// Two devices of one shop, for examples that need a peer. Included after `shop.rs`.

/// The directory, the node of the front desk, that of the workbench, which joined it, the tickets as each of
/// the two has them, and the id of the one that is there.
type Desks = (
    tempfile::TempDir,
    driftless::Node,
    driftless::Node,
    driftless::Collection<Ticket>,
    driftless::Collection<Ticket>,
    driftless::EntityId,
);

/// Opens two connected nodes that hold the same.
async fn desks() -> Result<Desks, Box<dyn std::error::Error>> {
    let (dir, desk, shop, tickets, id) = shop().await?;
    let bench = driftless::Node::builder(dir.path().join("bench")).listen(([127, 0, 0, 1], 0));
    let bench = bench.member("Ben").device("bench").discovery(false).open().await?;
    let joined = bench.join(&shop.invite(driftless::Role::Writer).await?).await?;
    let others = joined.collection::<Ticket>()?;
    agree(&bench, &tickets, &others).await?;
    Ok((dir, desk, bench, tickets, others, id))
}

/// Opens two nodes that gave the same ticket another title while they were apart, and know that by now.
async fn conflict() -> Result<Desks, Box<dyn std::error::Error>> {
    let (dir, desk, bench, tickets, others, id) = desks().await?;
    bench.pause().await?;
    tickets.update(id, |ticket| ticket.title = "front wheel".to_owned()).await?;
    others.update(id, |ticket| ticket.title = "back wheel".to_owned()).await?;
    bench.resume().await?;
    agree(&bench, &tickets, &others).await?;
    Ok((dir, desk, bench, tickets, others, id))
}

/// Waits until both have the same.
async fn agree(
    bench: &driftless::Node,
    tickets: &driftless::Collection<Ticket>,
    others: &driftless::Collection<Ticket>,
) -> Result<(), driftless::Error> {
    while tickets.space().fingerprint().await? != others.space().fingerprint().await? {
        bench.sync_now().await?;
    }
    Ok(())
}
