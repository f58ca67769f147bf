-- The next number of a row is the one that the old table would have given, although the last rows are gone.
create table gh_ost_test (id int not null auto_increment primary key, n int not null);
insert into gh_ost_test (n) values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12);
delete from gh_ost_test where id > 9;
