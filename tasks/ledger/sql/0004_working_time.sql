-- How long a shard has been worked on: what lies between two of its batches, but for pauses.
alter table changeover.cursors add column seconds double precision not null default 0;
