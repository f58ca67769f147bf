-- Columns that the server computes: one stays, one is renamed, one comes.
create table gh_ost_test (
  id int not null auto_increment primary key, a int not null, b int null,
  ab bigint as (a * b) stored, mixed int as (a - coalesce(b, 0)) virtual
);
insert into gh_ost_test (a, b) values (1, 2), (3, null);

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (a, b) values (5, 6), (7, null);
  update gh_ost_test set b = coalesce(b, 0) + 1, a = a + 1 where id % 3 = 0;
  delete from gh_ost_test where id % 8 = 7;
end ;;
