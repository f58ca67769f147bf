-- A shop with one of everything that a table can carry. Roles: the_reader, "The Owner".
create schema shop;
create schema "Weird.Schema";
grant all on schema shop to "The Owner";

create function shop.touch() returns trigger language plpgsql as 'begin return new; end';
create domain shop.cents as bigint check (value >= 0);
create type shop.state as enum ('open', 'paid');

create table shop.regions (country text, code text, name text, primary key (country, code));

create table shop.orders (
    country text collate "POSIX" not null,
    id bigint generated always as identity (start with 10 increment by 5) not null,
    number serial,
    state shop.state not null default 'open',
    total numeric(12, 2) not null default 0 check (total >= 0),
    tax numeric(12, 2),
    gross numeric generated always as (total + tax) stored,
    placed timestamptz default '2020-01-01 00:00+00',
    due interval default '1 day 02:00',
    weight float8 default '0.30000000000000004'::float8,
    raw bytea default '\xdeadbeef'::bytea,
    region text,
    area box,
    note text default E'a\\b',
    "weird ""name" shop.cents,
    parent_country text,
    parent_id bigint,
    primary key (country, id),
    constraint orders_number_key unique (number) include (state) deferrable,
    constraint orders_region_fkey foreign key (country, region) references shop.regions on update cascade,
    constraint orders_parent_fkey foreign key (parent_country, parent_id) references shop.orders
        on delete set null deferrable initially deferred,
    constraint "weird ""check" check ("weird ""name" <> 13),
    constraint orders_area_excl exclude using gist (area with &&)
) with (fillfactor = 80, autovacuum_enabled = false, toast.autovacuum_enabled = false);
alter table shop.orders
    alter note set storage external, alter note set statistics 500, alter note set compression pglz,
    alter region set (n_distinct = -0.5),
    add constraint orders_whole check (orders is not null) not valid;

create index orders_lower_idx on shop.orders (lower(note), (total + tax)) include (state) where tax > 1;
alter index shop.orders_lower_idx alter column 2 set statistics 99;
create unique index "orders weird" on shop.orders ("weird ""name" desc nulls last) with (fillfactor = 70);
create index orders_whole_idx on shop.orders using hash (region) where orders is not null;
alter table shop.orders cluster on "orders weird";
alter table shop.orders replica identity using index orders_pkey;

create table shop.items (
    id int primary key,
    country text,
    order_id bigint,
    number int default nextval('shop.orders_number_seq'),
    constraint items_order_fkey foreign key (country, order_id) references shop.orders on delete cascade
);
comment on constraint items_order_fkey on shop.items is 'from items';

create trigger touch before insert or update of total, tax on shop.orders
    for each row when (new.note is not null) execute function shop.touch();
create trigger changed after update on shop.orders
    for each row when (old.* is distinct from new.*) execute function shop.touch();
alter table shop.orders enable always trigger changed;
create constraint trigger late after delete on shop.orders deferrable initially deferred
    for each row execute function shop.touch();
create trigger emptied after truncate on shop.orders execute function shop.touch();
create trigger zzz_changeover_mine before insert on shop.orders for each row execute function shop.touch();

alter table shop.orders enable row level security;
create policy mine on shop.orders as restrictive for select to the_reader, "The Owner" using (state = 'open');
create policy everybody on shop.orders for insert with check (note <> 'x');
create policy theirs on shop.items
    using (exists (select from shop.orders o where o.id = order_id and o.tax > 0));

create view shop.open_orders with (security_barrier) as select id, total from shop.orders where state = 'open';
create view shop.open_totals as select sum(total) from shop.open_orders;
create view shop.whole as select o, note from shop.orders o;
create materialized view shop.by_region as select region, count(*) as n from shop.orders group by region;
create unique index by_region_idx on shop.by_region (region);
create rule no_delete as on delete to shop.orders where old.tax = 1 do instead nothing;
create rule mirror as on insert to shop.items do also update shop.orders set note = 'i' where id = new.order_id;
create statistics shop.orders_stats (ndistinct, mcv) on country, region, (total * 2) from shop.orders;
alter statistics shop.orders_stats set statistics 250;
create function shop.tax_of(bigint) returns numeric language sql
    begin atomic select tax from shop.orders where id = $1; end;
create function shop.describe(o shop.orders) returns text language sql as 'select $1.note';
create table shop.archive (id int, old shop.orders);
create publication part_of for table shop.orders (country, id, total) where (id > 3)
    with (publish = 'insert, delete');
create publication everything for all tables;
create publication shop_wide for tables in schema shop;

grant select, insert on shop.orders to the_reader with grant option;
grant update (note, tax) on shop.orders to the_reader;
grant usage on sequence shop.orders_number_seq to the_reader;
alter table shop.orders owner to "The Owner";

comment on table shop.orders is 'orders of the shop';
comment on column shop.orders.note is 'it''s a note';
comment on index shop.orders_lower_idx is 'an index';
comment on constraint orders_parent_fkey on shop.orders is 'a key';
comment on trigger touch on shop.orders is 'a trigger';
comment on policy mine on shop.orders is 'a policy';
comment on sequence shop.orders_number_seq is 'a sequence';

create table shop.animals (id int primary key, name text);
create table shop.dogs (breed text) inherits (shop.animals);
create table shop.events (at date not null, id int not null, primary key (at, id)) partition by range (at);
create table shop.events_2024 partition of shop.events for values from ('2024-01-01') to ('2025-01-01');
create table shop.event_notes (
    at date, id int, note text,
    constraint event_notes_fkey foreign key (at, id) references shop.events
);
create index on shop.events (id);
create table "Weird.Schema"."a ""b" ("c d" int primary key, "e%f" text);
create table "Weird.Schema"._changeover_shadow (id int);
create unlogged table shop.scratch (id int);
