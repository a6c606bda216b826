-- What the bearers of open streams may use at this moment: for each, in order, a digest of everything a listing is made of,
-- or null where the bearer, its identity or its tenant is no longer good. Read-only.
create function broker.standing{v}(
    p_homes uuid[], p_digests bytea[], p_tenants text[], p_identifiers text[], p_connections text[]
) returns setof text language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    r record;
begin
    for n in 1 .. coalesce(array_length(p_homes, 1), 0) loop
        select * into r
          from broker.resolve{v}(p_homes[n], p_digests[n], p_tenants[n], p_identifiers[n], p_connections[n]);
        if r.status = 'ok' and r.tenant_status = 'active' and r.identity_status = 'active' then
            -- Sorted: rows come in whatever order they lie. An expired grant is another state than a live one.
            return next encode(sha256(convert_to(concat_ws('|', r.policy_version, r.groups, r.restrict_connections, r.restrict_access,
                r.restrict_access_by,
                (select string_agg(c::text, ',' order by c::text) from json_array_elements(r.connections) c),
                (select string_agg(a::text, ',' order by a::text) from json_array_elements(r.accounts) a),
                (select string_agg(g::text || coalesce((g ->> 10)::timestamptz <= clock_timestamp(), false), ',' order by g::text)
                   from json_array_elements(r.grants) g)), 'UTF8')), 'hex');
        else
            return next null;
        end if;
    end loop;
end $$;
