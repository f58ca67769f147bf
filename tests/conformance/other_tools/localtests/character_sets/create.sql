-- Texts of three character sets go into others that have all of their characters.
create table gh_ost_test (
  id int not null auto_increment primary key,
  one varchar(60) character set latin1 not null,
  two varchar(60) character set utf8mb3 not null,
  three text character set utf8mb4 null
);
insert into gh_ost_test (one, two, three) values ('façade', 'Ærø', '🐘'), ('', 'naïve', null), ('ÿ', 'ſ', 'a\\b''c');

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (one, two, three) values ('où', 'łódź', '日本 🦣'), ('é', 'é', 'e');
  update gh_ost_test set one = concat(one, 'å'), two = concat('ž', two), three = null where id % 7 = 3 and length(one) < 40;
  delete from gh_ost_test where one = 'é';
end ;;
