-- A foreign key of another table points to it.
create table gh_ost_test (id int not null primary key);
create table gh_ost_child (id int not null primary key, parent int null, constraint of_parent foreign key (parent) references gh_ost_test (id));
insert into gh_ost_test values (1);
