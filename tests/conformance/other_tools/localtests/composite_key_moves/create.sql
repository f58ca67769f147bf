-- Rows share the first column of their key; one part of it moves, and single rows go.
create table gh_ost_test (
  lot int not null, at timestamp(6) not null default current_timestamp(6), part char(3) not null, n int null,
  primary key (lot, part), key by_time (at)
);
insert into gh_ost_test (lot, part, n) select seq div 5, seq % 5, seq from seq_1_to_40;

delimiter ;;
create event writes on schedule every 1 second do
begin
  set @next = (select max(lot) + 1 from gh_ost_test);
  insert into gh_ost_test (lot, part, n) values (@next, 'a', 1), (@next, 'B', null), (@next, 'c', 3);
  update gh_ost_test set part = 'z' where lot = @next and part = 'a';
  update gh_ost_test set lot = lot + 1000 where lot % 6 = 4 and part = '1' and lot < 1000;
  delete from gh_ost_test where lot = @next and part = 'b';
end ;;
