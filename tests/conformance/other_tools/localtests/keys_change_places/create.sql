-- Two unique keys get other names; the order of rows is told by one of them.
create table gh_ost_test (
  id int not null auto_increment primary key, n bigint not null, at timestamp(6) not null default current_timestamp(6),
  unique key one_n (n), unique key one_moment (at, n)
);
insert into gh_ost_test (n) select seq * 10 from seq_1_to_20;

delimiter ;;
create event writes on schedule every 1 second do
begin
  set @next = (select max(n) + 10 from gh_ost_test);
  insert into gh_ost_test (n) values (@next), (@next + 1);
  update gh_ost_test set n = -n where n = @next - 100;
  delete from gh_ost_test where n = @next + 1;
end ;;
