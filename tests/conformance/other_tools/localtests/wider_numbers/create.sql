-- Numbers at the ends of what they can be, with and without a sign, become wider; the key, too.
create table gh_ost_test (
  id int unsigned not null auto_increment primary key,
  small smallint not null,
  large bigint unsigned not null,
  exact decimal(10, 2) null
);
insert into gh_ost_test (small, large, exact) values (-32768, 0, -99999999.99), (32767, 18446744073709551615, null);

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (small, large, exact) values (-1, 18446744073709551614, 0.01), (0, 9223372036854775808, 1e7);
  update gh_ost_test set small = -small - 1, exact = -exact where id % 3 = 0;
  delete from gh_ost_test where id % 11 = 4;
end ;;
