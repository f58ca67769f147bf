-- Bytes that look like text in no character set, trailing zeros, bits, documents and shapes.
create table gh_ost_test (
  id binary(4) not null primary key, raw varbinary(20) null, bits bit(9) null, doc json null, place point not null
);
insert into gh_ost_test values (x'00000001', x'ff00', b'100000001', '{"a": [1, null]}', point(1, 2)), (x'27225c00', x'', null, null, point(0, 0));

delimiter ;;
create event writes on schedule every 1 second do
begin
  set @key = unhex(lpad(hex(floor(rand() * 1000000)), 8, '0'));
  insert ignore into gh_ost_test values (@key, concat(@key, x'00'), b'1', json_object('k', @key is null), point(-1.5, 3e5));
  update gh_ost_test set raw = null, bits = 0, doc = json_set(doc, '$.n', 1) where id > x'00080000';
  delete from gh_ost_test where id between x'00010000' and x'00018000';
end ;;
