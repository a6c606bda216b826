-- Writes one audit event in its own transaction: refusals and what jobs have to say. One round trip.
create function broker.record{v}(p_event audit.events) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('keyreeve.tenant', (p_event).tenant_id::text, true);
    p_event.xid := pg_current_xact_id();
    insert into audit.events select (p_event).*;
end $$;
