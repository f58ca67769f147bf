-- Left out on another server than MariaDB.
create table gh_ost_test (id int not null primary key);
insert into gh_ost_test values (1);
