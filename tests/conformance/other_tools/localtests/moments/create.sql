-- Moments to the microsecond, in two zones, the first that there are and a day that is none.
create table gh_ost_test (
  id int not null auto_increment primary key, t timestamp(6) not null default current_timestamp(6) on update current_timestamp(6),
  d datetime(3) not null, day date not null, lasted time(2) null, year year null
);
insert into gh_ost_test (d, day, lasted, year) values ('1000-01-01 00:00:00.001', '0000-00-00', '-838:59:59.00', 1901);

delimiter ;;
create event writes on schedule every 1 second do
begin
  set time_zone = '+05:30';
  insert into gh_ost_test (d, day, lasted, year) values (now(3), '2024-02-29', '838:59:58.99', 2155), (now(), '2020-00-00', null, null);
  set time_zone = '-08:00';
  update gh_ost_test set lasted = null, d = now(3) where id % 3 = 0;
  insert into gh_ost_test (t, d, day) values ('2038-01-18 00:00:00.000001', now(3), curdate());
  delete from gh_ost_test where id % 5 = 4;
end ;;
