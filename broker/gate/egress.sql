-- The address's own rate towards official origins, leased to processes. The rates of all live leases never add up to more
-- than p_total. Each asks for what it wants and gets at most its fair part plus what the others leave.
create function broker.egress_lease{v}(p_boot uuid, p_wanted int, p_total int, p_seconds int, out rate int)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    now_ timestamptz;
    held int;
    others int;
    fair int;
    claimed int;
begin
    perform pg_advisory_xact_lock(hashtextextended('keyreeve.egress', 7));
    now_ := clock_timestamp();
    -- A second longer than promised: what was sent in a lease's last second still counts.
    delete from broker.egress_leases l where l.expires_at < now_ - interval '1 s';
    select coalesce(sum(l.rate), 0), count(*) into held, others from broker.egress_leases l where l.boot <> p_boot;
    fair := p_total / (others + 1);
    select coalesce(sum(least(l.wanted, fair)), 0) into claimed from broker.egress_leases l where l.boot <> p_boot;
    rate := greatest(0, least(p_wanted, p_total - claimed, p_total - held));
    insert into broker.egress_leases as l (boot, rate, wanted, expires_at)
    values (p_boot, rate, p_wanted, now_ + p_seconds * interval '1 s')
    on conflict (boot) do update set rate = excluded.rate, wanted = excluded.wanted, expires_at = excluded.expires_at;
end $$;
